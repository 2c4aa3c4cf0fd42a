"""Fixtures of a small model with random parameters."""

from support.random_run import alone as alone
from support.random_run import random_params as random_params
from support.random_run import short_cache as short_cache
from support.random_run import small as small
from support.random_run import texts as texts
