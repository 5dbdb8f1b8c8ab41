package feeds

import (
	"net/http"
	"strconv"
	"time"
)

// Times of the schedule.
const (
	firstRetry    = 5 * time.Minute
	longestRetry  = time.Hour      // or Feed.Every, if that is longer
	maxRetryAfter = 24 * time.Hour // that a server may ask for
	jitterShare   = 10             // a tenth of the time at most is added at random
	rereadAfter   = 7 * 24 * time.Hour
	firstResend   = 5 * time.Second
	longestResend = 5 * time.Minute
)

// nextGood returns the time until the next request after a good answer. It is never
// shorter than every, because some servers block clients that ask more often. random is
// from 0 to 1.
func nextGood(every time.Duration, random float64) time.Duration {
	return every + time.Duration(random*float64(every/jitterShare))
}

// nextRetry returns the time until the next request after so many failures in a row.
func nextRetry(every time.Duration, failures int, retry time.Duration, random float64) time.Duration {
	wait := backOff(min(firstRetry, every), max(longestRetry, every), failures)
	wait += time.Duration(random * float64(wait/jitterShare))
	return max(wait, retry)
}

// backOff doubles first with each failure, up to longest.
func backOff(first, longest time.Duration, failures int) time.Duration {
	wait := first
	for n := 1; n < failures && wait < longest; n++ {
		wait *= 2
	}
	return min(wait, longest)
}

// retryAfter returns how long the server wants no request. A date counts from the
// server's own clock, which may be wrong.
func retryAfter(resp *http.Response, now time.Time) time.Duration {
	s := resp.Header.Get("Retry-After")
	wait := time.Duration(0)
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		wait = time.Duration(min(max(n, 0), int64(maxRetryAfter/time.Second))) * time.Second
	} else if at, err := http.ParseTime(s); err == nil {
		if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
			now = date
		}
		wait = at.Sub(now)
	}
	return min(max(wait, 0), maxRetryAfter)
}
