"""`make demo`: a small LLM vendor's day from event to invoice, in one process, every figure held against the truth."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from examples.money_side import show_charges, show_draft, show_explanation, show_final, show_prepaid
from examples.price_list import open_shop
from examples.terminal import Progress, heading, number, say
from examples.truth import DoesNotAddUp, adds_up, expect
from examples.usage_side import show_usage
from examples.vendor_day import CONFLICTS, CUSTOMERS, LATE, LATE_BY, REPEATS, Event, VendorDay, yesterday
from loadtest.server import Server
