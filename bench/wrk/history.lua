-- Pages of a room's history, with a bearer: by offset, from random messages on.
--
--	TOKEN=… MESSAGES=20000 wrk -t1 -c50 -d10s -s history.lua http://127.0.0.1:8080/api/v1/rooms/wrk/messages
--
-- The room has MESSAGES messages, or more. Every answer has to be a 200 with 50
-- of them without a gap.

local page = 50
local last = tonumber(os.getenv("MESSAGES")) - page
local threads = {}

wrk.headers["Authorization"] = "Bearer " .. os.getenv("TOKEN")

function setup(thread) table.insert(threads, thread) end

function init()
	others, wrongPages = 0, 0
	math.randomseed(os.time())
end

-- wrk pipelines nothing, but does not say which connection an answer is for. So
-- a page is held to itself: without a gap.
function request()
	return wrk.format("GET", wrk.path .. "?limit=" .. page .. "&after=" .. math.random(0, last))
end

function response(status, headers, body)
	if status ~= 200 then
		others = others + 1
		return
	end
	local before, count, good = nil, 0, true
	for offset in body:gmatch('"offset":(%d+)') do
		offset = tonumber(offset)
		good = good and (not before or offset == before + 1)
		before, count = offset, count + 1
	end
	if not good or count ~= page then wrongPages = wrongPages + 1 end
end

function done(summary, latency)
	local e, wrong, broken = summary.errors, 0, 0
	for _, thread in ipairs(threads) do
		wrong, broken = wrong + thread:get("others"), broken + thread:get("wrongPages")
	end
	io.write(string.format("%d pages, %.0f/s, p50 %.2f ms, p99 %.2f ms, %d not whole, %d other answers, %d not connected, %d read errors, %d timed out\n",
		summary.requests, summary.requests / summary.duration * 1e6, latency:percentile(50) / 1000, latency:percentile(99) / 1000,
		broken, wrong, e.connect, e.read, e.timeout))
	if summary.requests == 0 or wrong > 0 or broken > 0 or e.connect > 0 or e.read > 0 or e.timeout > 0 then
		io.write("FAILED\n")
		os.exit(1)
	end
end
