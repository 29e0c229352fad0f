-- Handshakes that must be refused: the token is no token. Every answer has to
-- be a 401; the connection is kept for the next try.
--
--	wrk -t1 -c50 -d10s -s refused.lua http://127.0.0.1:8080/ws?token=none

wrk.headers["Upgrade"] = "websocket"
wrk.headers["Connection"] = "Upgrade"
wrk.headers["Sec-WebSocket-Version"] = "13"
wrk.headers["Sec-WebSocket-Key"] = "dGhlIHNhbXBsZSBub25jZQ=="

local threads = {}

function setup(thread) table.insert(threads, thread) end

function init() others = 0 end

function response(status)
	if status ~= 401 then others = others + 1 end
end

function done(summary, latency)
	local e, wrong = summary.errors, 0
	for _, thread in ipairs(threads) do wrong = wrong + thread:get("others") end
	io.write(string.format("%d refusals, %.0f/s, p50 %.2f ms, p99 %.2f ms, %d other answers, %d not connected, %d timed out\n",
		e.status, e.status / summary.duration * 1e6,
		latency:percentile(50) / 1000, latency:percentile(99) / 1000, wrong, e.connect, e.timeout))
	if e.status == 0 or wrong > 0 or e.connect > 0 or e.timeout > 0 then
		io.write("FAILED\n")
		os.exit(1)
	end
end
