-- Plain HTTP on the port that serves the WebSockets: health, metrics, the page.
--
--	wrk -t1 -c50 -d10s -s http.lua http://127.0.0.1:8080/healthz
--
-- wrk exits with 0 whatever the server answers; done looks at the counts
-- instead and exits with 1 where they are wrong.

function done(summary, latency)
	local e = summary.errors
	io.write(string.format("%d requests, %.0f/s, p50 %.2f ms, p99 %.2f ms, %d refused, %d not connected, %d read errors, %d timed out\n",
		summary.requests, summary.requests / summary.duration * 1e6,
		latency:percentile(50) / 1000, latency:percentile(99) / 1000, e.status, e.connect, e.read, e.timeout))
	if summary.requests == 0 or e.status > 0 or e.connect > 0 or e.read > 0 or e.timeout > 0 then
		io.write("FAILED\n")
		os.exit(1)
	end
end
