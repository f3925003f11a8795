// Package sharetest runs a program at three parties within one test (三方测试): engines of mpc/share over unsealed links in memory, which keep
// what was sent and hold both ends to tags and lengths. For tests of what is built on the engine, whose sealed links have tests of their own.
package sharetest

import (
	"bytes"
	"errors"
	"fmt"
	"sync"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/mpc/share"
)

// Sent (发送记录) is what one party sent, in its order: receiver, tag and length of every message.
type Sent []string

// ErrStopped is what a party that did not fail itself gets when another did.
var ErrStopped = errors.New("sharetest: a party stopped")

type part struct {
	tag uint32
	b   []byte
}

type net struct {
	queue   [3][3]chan part
	aborted chan struct{}
	once    sync.Once
	mu      sync.Mutex
	sent    [3]Sent
}

type end struct {
	n  *net
	me int
}

func (l end) Self() int { return l.me }

func (l end) Send(to int, tag uint32, b []byte) error {
	l.n.mu.Lock()
	l.n.sent[l.me] = append(l.n.sent[l.me], fmt.Sprint(to, tag, len(b)))
	l.n.mu.Unlock()
	if len(b) == 0 {
		return nil
	}
	select {
	case l.n.queue[l.me][to] <- part{tag, bytes.Clone(b)}:
		return nil
	case <-l.n.aborted:
		return ErrStopped
	}
}

func (l end) Post(from int, tag uint32, into []byte) func() error {
	return func() error {
		for len(into) > 0 {
			select {
			case p := <-l.n.queue[from][l.me]:
				if p.tag != tag || len(p.b) > len(into) {
					return l.Abort(from, "the expected message")
				}
				into = into[copy(into, p.b):]
			case <-l.n.aborted:
				return ErrStopped
			}
		}
		return nil
	}
}

func (l end) Abort(int, string) error {
	l.n.once.Do(func() { close(l.n.aborted) })
	return ErrStopped
}

// Run plays a program at three parties and gives what each sent and its error. A party that fails stops the others.
func Run(adversary share.Adversary, program func(me int, e *share.Engine, o *share.Opener) error) (sent [3]Sent, errs [3]error) {
	return Bent(adversary, func(_ int, l share.Link) share.Link { return l }, program)
}

// Bent is Run over links that wrap changes: how a test has a party deviate.
func Bent(adversary share.Adversary, wrap func(me int, l share.Link) share.Link, program func(me int, e *share.Engine, o *share.Opener) error) (sent [3]Sent, errs [3]error) {
	n := &net{aborted: make(chan struct{})}
	for i := range 3 {
		for j := range 3 {
			n.queue[i][j] = make(chan part, 1024)
		}
	}
	secret := func(i int) []byte {
		d := sm.Sum([]byte("sharetest"), []byte{byte(i % 3)})
		return d[:]
	}
	var wait sync.WaitGroup
	for i := range 3 {
		wait.Go(func() {
			e, o, err := share.New(share.Config{Link: wrap(i, end{n, i}), Adversary: adversary, Generator: share.AESGenerator, Previous: secret(i), Next: secret(i + 1)})
			if err == nil {
				err = program(i, e, o)
			}
			if err == nil {
				err = e.Err()
			}
			if errs[i] = err; err != nil {
				_ = end{n, i}.Abort(i, "stopped")
			}
		})
	}
	wait.Wait()
	return n.sent, errs
}
