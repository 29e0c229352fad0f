-- Logins at the full cost of their hashes, of the user whom run registers.
--
--	LOGIN_BODY='{"username":"wrk","password":"…"}' wrk -t1 -c50 -d10s -s login.lua http://127.0.0.1:8080/api/v1/login
--
-- Passwords are hashed by few workers with a bounded queue. So a login is
-- answered 200, or 503 where the queue is full; anything else is wrong. wrk
-- counts a 503 as a refusal.

wrk.method = "POST"
wrk.body = os.getenv("LOGIN_BODY")
wrk.headers["Content-Type"] = "application/json"

local threads = {}

function setup(thread) table.insert(threads, thread) end

function init() logins, others = 0, 0 end

function response(status, headers, body)
	if status == 200 and body:find('"accessToken":"') then
		logins = logins + 1
	elseif status ~= 503 then
		others = others + 1
	end
end

function done(summary, latency)
	local e, good, wrong = summary.errors, 0, 0
	for _, thread in ipairs(threads) do
		good, wrong = good + thread:get("logins"), wrong + thread:get("others")
	end
	io.write(string.format("%d logins, %.1f/s, p50 %.0f ms, p99 %.0f ms, %d turned away, %d other answers, %d not connected, %d read errors, %d timed out\n",
		good, good / summary.duration * 1e6, latency:percentile(50) / 1000, latency:percentile(99) / 1000,
		e.status - wrong, wrong, e.connect, e.read, e.timeout))
	if good == 0 or wrong > 0 or e.connect > 0 or e.read > 0 then
		io.write("FAILED\n")
		os.exit(1)
	end
end
