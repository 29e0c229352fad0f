-- Messages by POST, with a bearer.
--
--	TOKEN=… wrk -t1 -c50 -d10s -s publish.lua http://127.0.0.1:8080/api/v1/rooms/wrk/messages
--
-- Every answer has to be a 201 with an offset that no other answer has. run
-- holds the room's newest offset to the count that COUNT_FILE, if given, takes.

wrk.method = "POST"
wrk.body = '{"content":"The quick brown fox jumps over the lazy dog."}'
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer " .. os.getenv("TOKEN")

local threads = {}

function setup(thread) table.insert(threads, thread) end

function init() published, others, twice, seen = 0, 0, 0, {} end

function response(status, headers, body)
	local offset = status == 201 and body:match('"offset":(%d+)')
	if not offset then
		others = others + 1
	elseif seen[offset] then
		twice = twice + 1
	else
		seen[offset] = true
		published = published + 1
	end
end

function done(summary, latency)
	local e, good, wrong, again = summary.errors, 0, 0, 0
	for _, thread in ipairs(threads) do
		good, wrong, again = good + thread:get("published"), wrong + thread:get("others"), again + thread:get("twice")
	end
	io.write(string.format("%d messages, %.0f/s, p50 %.2f ms, p99 %.2f ms, %d offsets twice, %d other answers, %d not connected, %d read errors, %d timed out\n",
		good, good / summary.duration * 1e6, latency:percentile(50) / 1000, latency:percentile(99) / 1000,
		again, wrong, e.connect, e.read, e.timeout))
	if os.getenv("COUNT_FILE") then
		local f = assert(io.open(os.getenv("COUNT_FILE"), "w"))
		f:write(good)
		f:close()
	end
	if good == 0 or wrong > 0 or again > 0 or e.connect > 0 or e.read > 0 or e.timeout > 0 then
		io.write("FAILED\n")
		os.exit(1)
	end
end
