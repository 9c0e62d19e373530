-- Returns what is stored: {0, seconds, microseconds, all fields, number of the worker's
-- last change}.
--
-- KEYS[1]  hash: the account's fields; "v" is its version
-- KEYS[2]  number of the worker's last change
local t = redis.call('TIME')
return {0, t[1], t[2], redis.call('HGETALL', KEYS[1]), redis.call('GET', KEYS[2]) or '0'}
