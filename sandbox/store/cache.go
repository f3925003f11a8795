package store

import (
	"context"
	"sync"
)

// docKey names one document.
type docKey struct{ kind, id string }

// caches knows which documents a commit is changing, and tells the caches of their kind.
type caches struct {
	mu       sync.RWMutex
	epoch    uint64
	changing map[docKey]int
	drop     map[string][]func(id string)
}

// change is called before a commit; what it gives, after. In between the documents are read from the file: no cache holds
// or takes up what the commit replaces.
func (c *caches) change(touched []docKey) (done func()) {
	if len(touched) == 0 {
		return func() {}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.changing == nil {
		c.changing = map[docKey]int{}
	}
	c.epoch++
	for _, k := range touched {
		c.changing[k]++
		for _, f := range c.drop[k.kind] {
			f(k.id)
		}
	}
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.epoch++
		for _, k := range touched {
			if c.changing[k]--; c.changing[k] == 0 {
				delete(c.changing, k)
			}
		}
	}
}

func (c Collection[T]) touch(ctx context.Context, id string) {
	t := ctx.Value(txKey{c.s}).(transaction)
	*t.touched = append(*t.touched, docKey{c.kind, id})
}

// Cache (文档缓存) keeps opened documents of a collection in memory, at most so many. What it gives is what the file holds: a
// document leaves it before the commit that changes it, and is not taken up again until that commit ended. That is so for
// writes through the same Store; when another process writes the file, use the Collection. Values are shared: callers do
// not change what they point to.
type Cache[T any] struct {
	c   Collection[T]
	max int
	of  map[string]Document[T] // under c.s.caches.mu
}

// NewCache gives a cache of at most max documents. There is one per collection and use, made when the store is opened.
func NewCache[T any](c Collection[T], max int) *Cache[T] {
	k := &Cache[T]{c: c, max: max, of: map[string]Document[T]{}}
	s := &c.s.caches
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.drop == nil {
		s.drop = map[string][]func(string){}
	}
	s.drop[c.kind] = append(s.drop[c.kind], func(id string) { delete(k.of, id) })
	return k
}

// Document gives a document as Collection.Document does. In a transaction it is read from there.
func (k *Cache[T]) Document(ctx context.Context, id string) (Document[T], error) {
	if _, ok := ctx.Value(txKey{k.c.s}).(transaction); ok {
		return k.c.Document(ctx, id)
	}
	s := &k.c.s.caches
	s.mu.RLock()
	d, ok := k.of[id]
	epoch := s.epoch
	s.mu.RUnlock()
	if ok {
		return d, nil
	}
	d, err := k.c.Document(ctx, id)
	if err != nil {
		return d, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.epoch != epoch || s.changing[docKey{k.c.kind, id}] > 0 {
		return d, nil
	}
	for other := range k.of { // any one makes room
		if len(k.of) < k.max {
			break
		}
		delete(k.of, other)
	}
	k.of[id] = d
	return d, nil
}

// Get gives a document and its revision.
func (k *Cache[T]) Get(ctx context.Context, id string) (T, int64, error) {
	d, err := k.Document(ctx, id)
	return d.Value, d.Rev, err
}
