package node

import "time"

// now gives the time by which the domain judges terms and expiries (判定时刻): the host's clock, but never before a time that
// the evidence or a witness has seen. A clock set back brings no expired grant or consent to life again.
func (n *Node) now() time.Time {
	t := n.cfg.Now()
	if floor := n.latest.Load(); floor > t.UnixNano() {
		return time.Unix(0, floor).UTC()
	}
	return t
}

// passed takes note of a time that evidence or a witness shows to have passed.
func (n *Node) passed(t time.Time) {
	for {
		old := n.latest.Load()
		if t.UnixNano() <= old || n.latest.CompareAndSwap(old, t.UnixNano()) {
			return
		}
	}
}
