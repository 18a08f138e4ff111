"""How fast the portal calls AMC for one account once Amazon has asked for a pause: for all its processes together.

Until then nothing is held back. After a 429 nobody calls before `Retry-After` is over; then one run after the other has
its turn, at half the pace at which Amazon said no, a little faster every minute, but for an hour never as fast as that.
If the very next call is refused as well, that says nothing of the pace: Amazon takes no calls just now, and the pause
alone grows. Kept in Redis; losing it loses nothing but the pace.
"""

from __future__ import annotations

import time
from typing import Any

from onboarding.clients import beside

# What a 429 without `Retry-After` means.
USUAL_PAUSE = 1.0
# What the pause grows to by itself while every call is refused: so often it is tried whether Amazon takes calls again.
LONGEST_PAUSE = 5.0

_NOW = """
local now = tonumber(ARGV[1])
local function get(name) return tonumber(redis.call('HGET', KEYS[1], name) or '0') end
local function set(...) redis.call('HSET', KEYS[1], ...) end
"""
# Seconds to wait for one's turn; 0 if it is now. Whoever is told to wait has a place of their own (`turn:`); whoever is
# in the middle of their turn (`going on`) is only counted.
_TURN = (
    _NOW
    + """
local interval, mine = get('interval'), 'turn:' .. ARGV[2]
if interval == 0 then
  if now - get('from') > 5 then set('from', now, 'count', 0) end
  redis.call('HINCRBY', KEYS[1], 'count', 1)
  redis.call('EXPIRE', KEYS[1], 60)
  return '0'
end
if now - get('faster') > 60 then
  interval = math.max(interval * 0.9, get('least'))
  set('interval', interval, 'faster', now)
end
local held = get('held')
local function taken() redis.call('HINCRBY', KEYS[1], 'taken', 1) return '0' end
if ARGV[3] == '1' and held <= now then
  set('next', math.max(get('next'), now) + interval)
  return taken()
end
local place = redis.call('HGET', KEYS[1], mine)
if place then
  if tonumber(place) <= now then redis.call('HDEL', KEYS[1], mine) return taken() end
  return tostring(tonumber(place) - now)
end
local following = math.max(get('next'), now, held)
set('next', following + interval)
if following <= now then return taken() end
set(mine, following)
return tostring(following - now)
"""
)
# After a 429: nobody before the pause is over. Several of one moment are one. From a few calls no pace can be told:
# then it begins with two turns a second. One turn alone since the last 429 (`taken`) was the one that is refused.
_SLOWER = (
    _NOW
    + """
local held, interval = get('held'), get('interval')
local until_ = now + tonumber(ARGV[2])
if held < now then
  for _, name in ipairs(redis.call('HKEYS', KEYS[1])) do
    if string.sub(name, 1, 5) == 'turn:' then redis.call('HDEL', KEYS[1], name) end
  end
  local refused = 0
  if interval > 0 and get('taken') <= 1 then
    refused = get('refused') + 1
    until_ = math.max(until_, now + math.min(ARGV[3] * 2 ^ refused, ARGV[4]))
  else
    if interval == 0 then interval = math.min(math.max(now - get('from'), 1) / math.max(get('count'), 1), 0.25) end
    set('least', interval * 1.25, 'interval', math.min(interval * 2, 60), 'faster', until_)
  end
  set('next', until_, 'taken', 0, 'refused', refused)
end
if held < until_ then set('held', until_) end
redis.call('EXPIRE', KEYS[1], 3600)
return '0'
"""
)


def turn(account: str, who: str, *, going_on: bool = False, now: float | None = None) -> float:
    """Seconds until `who` may call for this AMC account; 0 for now, which takes the turn.

    `going_on`: it is not the first call of a turn, such as the next page of a list.
    """
    return float(_run(_TURN, account, _moment(now), who, int(going_on)) or 0)


def slower(account: str, retry_after: float | None, *, now: float | None = None) -> None:
    """Amazon has asked for a pause."""
    _run(_SLOWER, account, _moment(now), retry_after or USUAL_PAUSE, USUAL_PAUSE, LONGEST_PAUSE)


def _moment(now: float | None) -> str:
    return repr(time.time() if now is None else now)


def _run(script: str, account: str, *values: Any) -> Any:
    # Without Redis, Amazon's own limit holds.
    return beside.attempt("the common pace", lambda redis: redis.eval(script, 1, f"portal:pace:{account}", *values))
