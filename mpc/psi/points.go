package psi

import (
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/attest/sm/group"
)

// points sends the own points and takes the peer's, batch by batch in step: while messages are on the link, the workers make the
// next batches of either kind.
func (j *job) points() error {
	mine, theirs := batches(j.size[0]), batches(j.size[1])
	width := group.PointSize
	if j.Plan.Output == JoinSum {
		width += j.Plan.Measures * ciphertextSize
	}
	wide := func(side Side) int { // only the sender has values
		if side == Sender {
			return width
		}
		return group.PointSize
	}
	ahead := 2*j.workers + 1
	var making, taking []*task
	settle := func(limit int) error {
		for len(taking) > limit {
			t := taking[0]
			taking = taking[1:]
			if err := t.wait(); err != nil {
				return j.Side.Peer().broke(RulePoint, err)
			}
			if err := j.keep(t); err != nil {
				return err
			}
		}
		return nil
	}
	sent, seen := sm.NewHash(), sm.NewHash()
	for k, next := 0, 0; k < max(mine, theirs); k++ {
		for ; next < mine && next < k+ahead; next++ {
			making = append(making, j.pool.do(&task{k: next}, func(w *worker, t *task) (err error) {
				t.out, err = w.batch(j.m, t.k, make([]byte, 0, batchSize*wide(j.Side)))
				return err
			}))
		}
		var wait func() error
		var in []byte
		if k < theirs {
			from, to := span(k, j.size[1])
			in = make([]byte, (to-from)*wide(j.Side.Peer()))
			wait = j.post(tagPoints, in)
		}
		if k < mine {
			if err := making[0].wait(); err != nil {
				return err
			}
			if err := j.send(tagPoints, making[0].out); err != nil {
				return err
			}
			sent.Write(making[0].out)
			making = making[1:]
		}
		if k < theirs {
			if err := wait(); err != nil {
				return err
			}
			seen.Write(in)
			taking = append(taking, j.pool.do(&task{k: k, in: in}, j.take))
			if err := settle(ahead); err != nil {
				return err
			}
		}
	}
	if err := settle(0); err != nil {
		return err
	}
	var digest [sm.Size]byte
	seen.Sum(digest[:0])
	sent.Sum(j.result.Points[:0])
	peer := j.Side.Peer()
	if j.Plan.Authority[peer].Kind == Listed && digest != j.result.PeerPoints {
		return peer.broke(RuleUnauthorised, nil)
	}
	j.result.PeerPoints = digest
	return nil
}

// take checks and answers a batch of the peer's points; ciphertexts are checked where they lie.
func (j *job) take(w *worker, t *task) (err error) {
	from, to := span(t.k, j.size[1])
	n := to - from
	for at := n * group.PointSize; at < len(t.in); at += ciphertextSize {
		if _, _, err := parseCiphertext(t.in[at:]); err != nil {
			return err
		}
	}
	t.out, err = w.answer(j.m.key, &j.session, t.in, n, make([]byte, 0, n*tagSize))
	return err
}

// keep files the tags of a batch.
func (j *job) keep(t *task) error {
	from, to := span(t.k, j.size[1])
	for i := range to - from {
		if err := j.peer.add((*[tagSize]byte)(t.out[i*tagSize:]), uint32(from+i)); err != nil {
			return err
		}
	}
	if j.answers != nil {
		if err := j.answers.write(t.out); err != nil {
			return err
		}
	}
	if j.sealed != nil {
		return j.sealed.write(t.in[(to-from)*group.PointSize:])
	}
	return nil
}
