-- Returns what the gates of an account without limits share: {seconds, microseconds,
-- the orders that nobody understood with when they were sent, 1 if there is a word}.
--
-- KEYS[1]  sorted set of orders
-- KEYS[2]  an operator's word
local t = redis.call('TIME')
return {t[1], t[2], redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES'), redis.call('EXISTS', KEYS[2])}
