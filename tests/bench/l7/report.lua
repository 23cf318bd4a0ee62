-- What the bench reads of a wrk run: requests, errors, and percentiles of latency in microseconds.
done = function(summary, latency, _)
  local e = summary.errors
  io.write(string.format("RESULT %d %d %d %d\n", summary.requests,
    e.connect + e.read + e.write + e.status + e.timeout, latency:percentile(50), latency:percentile(99)))
end
