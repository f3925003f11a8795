package store

import (
	"context"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/opdomain/opdomain/sandbox"
)

// Bounds of the replay cache.
const (
	MaxNonce          = 128     // bytes of one nonce
	NoncesPerIdentity = 1 << 17 // live nonces of one identity
	nonceBatch        = 512     // nonces of one transaction
)

// requestTime counts the latest second at which a nonce was spent: what expired by then may have been forgotten, so it is
// refused for good, whatever the clock says later.
const requestTime = "request.time"

// spending is what waits to be spent. Whoever finds nobody at work spends for all that wait (group commit): one
// transaction and one fsync for as many callers as came meanwhile.
type spending struct {
	mu    sync.Mutex
	queue []*spend
	busy  bool

	// what follows belongs to whoever is at work
	mark  int64                                  // durable requestTime, 0 before it is read
	swept int64                                  // expired nonces up to here were removed
	live  map[sandbox.IdentityID]map[int64]int64 // nonces by second of expiry; nil before they are read
}

// spend is one nonce on its way.
type spend struct {
	identity     sandbox.IdentityID
	nonce        string
	expires, now int64
	err          error
	done         chan struct{}
	lead         chan struct{} // closed: spend for those that wait
}

// Seen (防重放) records that identity used nonce in a request that is valid until expires, and returns once that is durable;
// concurrent calls share one transaction. The second use is Unsigned, also after a restart and after the clock was set
// back: a request that had expired at any moment a nonce was spent is never taken again. TooLarge when the identity has
// NoncesPerIdentity unexpired ones. Expired entries are pruned. The call does not end with ctx once it began to wait.
func (s *Store) Seen(ctx context.Context, identity sandbox.IdentityID, nonce string, expires, now time.Time) error {
	if nonce == "" || len(nonce) > MaxNonce {
		return replayed(identity, "a nonce has 1 to 128 bytes")
	}
	if !expires.After(now) {
		return replayed(identity, "the request has expired")
	}
	if err := ctx.Err(); err != nil {
		return failed("store: nonce", "", err)
	}
	e := &spend{identity: identity, nonce: nonce, expires: expires.Unix(), now: now.Unix(), done: make(chan struct{}), lead: make(chan struct{})}
	q := &s.spending
	q.mu.Lock()
	q.queue = append(q.queue, e)
	first := !q.busy
	q.busy = true
	q.mu.Unlock()
	if !first {
		select {
		case <-e.done:
			return e.err
		case <-e.lead:
		}
	}
	q.mu.Lock()
	n := min(len(q.queue), nonceBatch) // e is among them: it is the first
	batch := q.queue[:n:n]
	q.queue = q.queue[n:]
	q.mu.Unlock()
	defer func() {
		for _, b := range batch {
			close(b.done)
		}
		q.mu.Lock()
		defer q.mu.Unlock()
		if len(q.queue) > 0 {
			close(q.queue[0].lead)
			return
		}
		q.queue, q.busy = nil, false
	}()
	for _, b := range batch { // what stands if the transaction panics
		b.err = &sandbox.Error{Op: "store: nonce", Kind: sandbox.Internal, Detail: "the nonce was not spent"}
	}
	s.spend(context.WithoutCancel(ctx), batch)
	return e.err
}

func replayed(identity sandbox.IdentityID, rule string) error {
	return &sandbox.Error{Op: "store: nonce", Kind: sandbox.Unsigned, Object: string(identity), Detail: rule, Hint: "sign the request anew"}
}

// spend decides a batch in one transaction. When it fails, nothing of the batch was spent and all are told so.
func (s *Store) spend(ctx context.Context, batch []*spend) {
	q := &s.spending
	err := s.Tx(ctx, func(ctx context.Context) error {
		if err := s.recall(ctx); err != nil {
			return err
		}
		mark := q.mark
		for _, e := range batch {
			mark = max(mark, e.now)
		}
		if mark > q.swept {
			if _, err := s.exec(ctx, "store: nonce", "", `DELETE FROM nonces WHERE expires <= ?`, mark); err != nil {
				return err
			}
		}
		tx := ctx.Value(txKey{s}).(transaction).tx
		insert := tx.StmtContext(ctx, s.nonce)
		defer insert.Close()
		live := map[sandbox.IdentityID]int64{} // of those in the batch, counted once
		for _, e := range batch {
			n, counted := live[e.identity]
			if !counted {
				n = q.alive(e.identity, mark)
				live[e.identity] = n
			}
			switch {
			case e.expires <= mark:
				e.err = replayed(e.identity, "the request had expired at a time this domain has seen")
				continue
			case n >= s.perIdentity:
				e.err = &sandbox.Error{Op: "store: nonce", Kind: sandbox.TooLarge, Object: string(e.identity),
					Detail: fmt.Sprintf("an identity has at most %d requests that have not expired", s.perIdentity), Hint: "send fewer, or sign them for a shorter life"}
				continue
			}
			r, err := insert.ExecContext(ctx, string(e.identity), e.nonce, e.expires)
			if err != nil {
				return failed("store: nonce", string(e.identity), err)
			}
			fresh, err := r.RowsAffected()
			if err != nil {
				return failed("store: nonce", string(e.identity), err)
			}
			e.err = nil
			if fresh == 0 {
				e.err = replayed(e.identity, "replayed: the nonce was used before")
				continue
			}
			live[e.identity]++
		}
		if mark > q.mark {
			_, err := s.Add(ctx, requestTime, mark-q.mark, math.MaxInt64)
			return err
		}
		return nil
	})
	if err != nil {
		q.live, q.mark, q.swept = nil, 0, 0 // what was committed is read again
		for _, e := range batch {
			e.err = err
		}
		return
	}
	was := q.mark
	for _, e := range batch {
		q.mark = max(q.mark, e.now)
	}
	q.swept = max(q.swept, q.mark)
	for _, e := range batch {
		if e.err == nil {
			if q.live[e.identity] == nil {
				q.live[e.identity] = map[int64]int64{}
			}
			q.live[e.identity][e.expires]++
		}
	}
	if q.mark == was { // nothing expired since the last batch
		return
	}
	for id := range q.live {
		q.alive(id, q.mark)
	}
}

// recall reads the durable mark, which another process may have moved, and once how many nonces each identity has.
func (s *Store) recall(ctx context.Context) error {
	q := &s.spending
	mark, err := s.Counter(ctx, requestTime)
	if err != nil {
		return err
	}
	q.mark = mark
	if q.live != nil {
		return nil
	}
	live := map[sandbox.IdentityID]map[int64]int64{}
	r, err := s.on(ctx).QueryContext(ctx, `SELECT identity, expires, count(*) FROM nonces GROUP BY identity, expires`)
	if err != nil {
		return failed("store: nonce", "", err)
	}
	defer r.Close()
	for r.Next() {
		var id sandbox.IdentityID
		var expires, n int64
		if err := r.Scan(&id, &expires, &n); err != nil {
			return failed("store: nonce", "", err)
		}
		if live[id] == nil {
			live[id] = map[int64]int64{}
		}
		live[id][expires] = n
	}
	if err := r.Err(); err != nil {
		return failed("store: nonce", "", err)
	}
	q.live = live
	return nil
}

// alive counts the nonces of an identity that have not expired by mark and forgets the others.
func (q *spending) alive(id sandbox.IdentityID, mark int64) (n int64) {
	for expires, k := range q.live[id] {
		if expires <= mark {
			delete(q.live[id], expires)
			continue
		}
		n += k
	}
	if len(q.live[id]) == 0 {
		delete(q.live, id)
	}
	return n
}
