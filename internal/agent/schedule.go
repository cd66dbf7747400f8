package agent

import "time"

const (
	// jitter is how much earlier or later than at half of its life a certificate is renewed, as a part of that half.
	jitter = 0.1
	// shortestLife bounds how often a certificate is renewed when all goes well, however short its life.
	shortestLife = time.Second

	firstRetry   = 2 * time.Second // longest wait after a first failure, doubled with each further one
	shortestWait = time.Second
	longestWait  = time.Minute
	// longestStart is the longest wait while there is no certificate that is good: somebody waits for the workload.
	longestStart = 5 * time.Second
	// attemptBound bounds one attempt. Lateen serves those who ask at the same time one after the other.
	attemptBound = 30 * time.Second
)

// halfLife returns when to renew a certificate that is good for so long: after half of it, not in step with others. The random
// number is of [0, 1).
func halfLife(life time.Duration, random float64) time.Duration {
	return max(shortestLife, time.Duration(float64(life)/2*(1-jitter+2*jitter*random)))
}

// backOff returns how long to wait after so many failures in a row, not in step with others: between a second and a minute,
// while there is a certificate that is still good for some time not beyond a quarter of that, and while there is none not
// beyond 5 s.
func backOff(failures int, good time.Duration, random float64) time.Duration {
	longest := longestWait
	if doubled := firstRetry << min(failures-1, 10); doubled < longest {
		longest = doubled
	}
	if good > 0 {
		longest = max(shortestWait, min(longest, good/4))
	} else {
		longest = min(longest, longestStart)
	}
	return max(shortestWait, longest/2+time.Duration(float64(longest/2)*random))
}
