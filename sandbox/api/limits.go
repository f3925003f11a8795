package api

import (
	lru "container/list"
	"errors"
	"math"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/opdomain/opdomain/sandbox"
)

// Limits (限流配置) bound what callers can take. Every zero value stands for the default beside it; none switches a bound off.
// Behind a reverse proxy all requests come from the proxy's address: AddressRate is then the rate of the whole domain.
type Limits struct {
	AddressRate   float64 // tokens a second per remote address, one per request, before the signature; 0: 4000
	AddressBurst  int     // 0: 8000
	Addresses     int     // addresses remembered, the least recent forgotten; 0: 65536
	IdentityRate  float64 // tokens a second per identity, after the signature: reading 1, writing 2, questions, claims and pushes 10; 0: 1000
	IdentityBurst int     // at least 10; 0: 4000
	Identities    int     // identities remembered; 0: 16384
	InFlight      int     // requests running at once; 0: 512
	PerIdentity   int     // requests of one identity running at once; 0: 64
	PerUnit       int     // pushes of one unit running at once; 0: 4
	Connections   int     // open connections; 0: 1024
}

// Costs of a request in tokens of its identity.
const (
	costRead  = 1
	costWrite = 2
	costDear  = 10
)

func (l *Limits) validate() error {
	if l.AddressRate < 0 || l.IdentityRate < 0 || l.AddressRate > 1e9 || l.IdentityRate > 1e9 || math.IsNaN(l.AddressRate) || math.IsNaN(l.IdentityRate) {
		return &sandbox.Error{Op: "api: open", Kind: sandbox.Invalid, Object: "limits", Detail: "a rate lies between 0 and 10^9"}
	}
	for _, n := range []struct {
		value     *int
		low, zero int
	}{{&l.AddressBurst, 1, 8000}, {&l.Addresses, 1, 1 << 16}, {&l.IdentityBurst, costDear, 4000}, {&l.Identities, 1, 1 << 14},
		{&l.InFlight, 1, 512}, {&l.PerIdentity, 1, 64}, {&l.PerUnit, 1, 4}, {&l.Connections, 1, 1024}} {
		if *n.value == 0 {
			*n.value = n.zero
		}
		if *n.value < n.low || *n.value > 1<<30 {
			return &sandbox.Error{Op: "api: open", Kind: sandbox.Invalid, Object: "limits", Detail: "a bound is positive, and a burst pays for the dearest request"}
		}
	}
	if l.AddressRate == 0 {
		l.AddressRate = 4000
	}
	if l.IdentityRate == 0 {
		l.IdentityRate = 1000
	}
	return nil
}

// recent keeps the values of the keys used last, at most max of them.
type recent[V any] struct {
	max   int
	order *lru.List // of *kept[V], most recent first
	at    map[string]*lru.Element
}

type kept[V any] struct {
	key   string
	value V
}

func newRecent[V any](max int) recent[V] {
	return recent[V]{max: max, order: lru.New(), at: map[string]*lru.Element{}}
}

func (r *recent[V]) get(key string) (v V, ok bool) {
	e, ok := r.at[key]
	if !ok {
		return v, false
	}
	r.order.MoveToFront(e)
	return e.Value.(*kept[V]).value, true
}

func (r *recent[V]) put(key string, v V) {
	if e, ok := r.at[key]; ok {
		e.Value.(*kept[V]).value = v
		r.order.MoveToFront(e)
		return
	}
	r.at[key] = r.order.PushFront(&kept[V]{key, v})
	if r.order.Len() > r.max {
		oldest := r.order.Back()
		delete(r.at, r.order.Remove(oldest).(*kept[V]).key)
	}
}

// buckets are token buckets by key.
type buckets struct {
	rate  rate.Limit
	burst int
	mu    sync.Mutex
	of    recent[*rate.Limiter]
}

func newBuckets(perSecond float64, burst, max int) *buckets {
	return &buckets{rate: rate.Limit(perSecond), burst: burst, of: newRecent[*rate.Limiter](max)}
}

// take spends cost tokens of a key; when there are too few it spends none and says after how long there will be enough.
func (b *buckets) take(key string, cost int, now time.Time) (wait time.Duration, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l, known := b.of.get(key)
	if !known {
		l = rate.NewLimiter(b.rate, b.burst)
		b.of.put(key, l)
	}
	r := l.ReserveN(now, cost)
	if wait = r.DelayFrom(now); wait > 0 {
		r.CancelAt(now)
		return wait, false
	}
	return 0, true
}

// tally counts what runs at once, by key. Keys that run nothing take no memory.
type tally struct {
	max int
	mu  sync.Mutex
	of  map[string]int
}

func newTally(max int) *tally { return &tally{max: max, of: map[string]int{}} }

func (t *tally) enter(key string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.of[key] >= t.max {
		return false
	}
	t.of[key]++
	return true
}

func (t *tally) leave(key string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.of[key]--; t.of[key] <= 0 {
		delete(t.of, key)
	}
}

// throttle (限流) is a refusal that passes by itself: 429 for what one caller may take, 503 for what the domain can.
type throttle struct {
	cause  *sandbox.Error
	status int
	after  time.Duration
}

func (t *throttle) Error() string { return t.cause.Error() }

func (t *throttle) Unwrap() error { return t.cause }

func throttled(status int, object, rule string, after time.Duration) error {
	return &throttle{status: status, after: max(after, time.Second),
		cause: &sandbox.Error{Op: "request", Kind: sandbox.Unavailable, Object: object, Detail: rule, Hint: "wait as long as Retry-After says"}}
}

// retryAfter gives how long a refusal lasts; 0 for one that waiting does not help.
func retryAfter(err error) time.Duration {
	var t *throttle
	if errors.As(err, &t) {
		return t.after
	}
	return 0
}

// statusOf gives the status of an error whose problem has kind k.
func statusOf(err error, k sandbox.Kind) int {
	var t *throttle
	if errors.As(err, &t) {
		return t.status
	}
	if s := (*severed)(nil); errors.As(err, &s) {
		return statusGone
	}
	return Status(k)
}
