-- WebSocket handshakes.
--
--	wrk -t1 -c50 -d10s -s handshake.lua http://127.0.0.1:8080/ws?user=wrk
--
-- wrk speaks HTTP only. It counts the 101 as a response and sends the next
-- request on the same connection, where the server expects a frame: it closes
-- the connection (1002), which wrk counts as a read error, and connects anew.
-- So one read error for each handshake is as it should be. wrk exits with 0
-- whatever the server answers; done looks at the counts instead and exits with
-- 1 where they are wrong.

wrk.headers["Upgrade"] = "websocket"
wrk.headers["Connection"] = "Upgrade"
wrk.headers["Sec-WebSocket-Version"] = "13"
wrk.headers["Sec-WebSocket-Key"] = "dGhlIHNhbXBsZSBub25jZQ=="

local threads = {}

function setup(thread) table.insert(threads, thread) end

function init() others = 0 end

function response(status)
	if status ~= 101 then others = others + 1 end
end

function done(summary, latency)
	local e, wrong = summary.errors, 0
	for _, thread in ipairs(threads) do wrong = wrong + thread:get("others") end
	io.write(string.format("%d handshakes, %.0f/s, p50 %.2f ms, p99 %.2f ms, %d other answers, %d not connected, %d timed out\n",
		summary.requests, summary.requests / summary.duration * 1e6,
		latency:percentile(50) / 1000, latency:percentile(99) / 1000, wrong, e.connect, e.timeout))
	if summary.requests == 0 or wrong > 0 or e.connect > 0 or e.timeout > 0 then
		io.write("FAILED\n")
		os.exit(1)
	end
end
