package psi

import (
	"errors"
	"io"
	"slices"
)

// transfers runs the plan's steps, the verdict and the sums.
func (j *job) transfers() error {
	judge, judged := j.Plan.judge()
	for i, s := range j.Plan.steps() {
		var err error
		if s.from == j.Side {
			err = j.tell(s.sorted)
		} else {
			err = j.learn(s.sorted)
		}
		if err != nil {
			return err
		}
		if i == 0 && judged {
			if err := j.verdict(judge); err != nil || j.result.Withheld {
				return err
			}
		}
	}
	if j.Plan.Output == JoinSum {
		if j.Side == Receiver {
			return j.addUp()
		}
		return j.openSums()
	}
	return nil
}

// tell sends the tags of the peer's points.
func (j *job) tell(sorted bool) error {
	var next func(b []byte) error
	if sorted {
		m, err := j.peer.merge()
		if err != nil {
			return err
		}
		defer m.close()
		next = func(b []byte) error {
			for ; len(b) > 0; b = b[tagSize:] {
				r, ok, err := m.next()
				if err != nil || !ok {
					return j.fault(errors.Join(err, io.ErrUnexpectedEOF))
				}
				copy(b[:tagSize], r[:])
			}
			return nil
		}
	} else {
		r, done, err := j.answers.open()
		if err != nil {
			return err
		}
		defer done()
		next = func(b []byte) error { _, err := io.ReadFull(r, b); return err }
	}
	buf := make([]byte, batchSize*tagSize)
	for k := range batches(j.size[1]) {
		from, to := span(k, j.size[1])
		b := buf[:(to-from)*tagSize]
		if err := next(b); err != nil {
			return err
		}
		if err := j.send(tagTags, b); err != nil {
			return err
		}
	}
	return nil
}

// learn takes the tags of the own points and finds those that the peer's points have too.
func (j *job) learn(sorted bool) error {
	peer := j.Side.Peer()
	buf := make([]byte, batchSize*tagSize)
	var last [tagSize]byte
	place := 0
	for k := range batches(j.size[0]) {
		from, to := span(k, j.size[0])
		b := buf[:(to-from)*tagSize]
		if err := j.post(tagTags, b)(); err != nil {
			return err
		}
		for ; len(b) > 0; b = b[tagSize:] {
			tag := (*[tagSize]byte)(b)
			if sorted && place > 0 && string(tag[:]) <= string(last[:]) {
				return peer.broke(RuleOrder, nil)
			}
			last = *tag
			row := uint32(padding - 1) // nobody's
			if !sorted {
				row = j.m.order[place]
			}
			if err := j.own.add(tag, row); err != nil {
				return err
			}
			place++
		}
	}
	found := 0
	var rows []uint32
	if !sorted {
		rows = []uint32{}
	}
	var matched []uint64 // join-sum: a bit for each of the peer's places
	if j.sealed != nil {
		matched = make([]uint64, (j.size[1]+63)/64)
	}
	err := common(j.peer, j.own, func(x, y *record) error {
		found++
		if matched != nil {
			matched[x.place()/64] |= 1 << (x.place() % 64)
		}
		if sorted {
			return nil
		}
		if y.place()&padding != 0 {
			return peer.broke(RulePadding, nil)
		}
		rows = append(rows, y.place())
		return nil
	})
	if err != nil {
		return j.fault(err)
	}
	if found > min(j.m.rows, j.size[1]) { // more than there are elements to meet
		return peer.broke(RulePadding, nil)
	}
	slices.Sort(rows)
	j.result.Cardinality, j.result.Members = found, rows
	if matched != nil {
		return j.total(matched)
	}
	return nil
}

// verdict: one byte, 1 where the intersection may leave.
func (j *job) verdict(judge Side) error {
	if j.Side != judge {
		b := make([]byte, 1)
		if err := j.post(tagVerdict, b)(); err != nil {
			return err
		}
		if b[0] > 1 {
			return judge.broke(RuleMessage, nil)
		}
		j.result.Withheld = b[0] == 0
		return nil
	}
	ok := j.result.Cardinality >= j.Plan.Threshold
	if ok && j.Judge != nil {
		var err error
		if ok, err = j.Judge(Finding{j.result.Cardinality, slices.Clone(j.result.Members)}); err != nil {
			return err
		}
	}
	b := []byte{0}
	if ok {
		b[0] = 1
	}
	if j.result.Withheld = !ok; j.result.Withheld {
		j.result.Members = nil
	}
	return j.send(tagVerdict, b)
}
