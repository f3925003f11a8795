package node

import (
	"time"

	"github.com/opdomain/opdomain/sandbox"
)

// maxJump is how far the host's clock may run ahead of the time that has passed since the domain was opened.
const maxJump = 10 * time.Minute

// steady refuses to record anything by a clock that was set far forward: what is recorded sets the floor of now, and a time
// that has not come yet would end every grant and consent for good.
func (n *Node) steady() error {
	if n.cfg.Steady == nil {
		return nil
	}
	passed := n.cfg.Steady() - n.openedSteady
	if ahead := n.cfg.Now().Sub(n.opened) - passed; ahead > maxJump {
		return &sandbox.Error{Op: "clock", Kind: sandbox.Unavailable, Object: "host", Detail: "the machine's clock was set forward by more than 10 minutes while the domain was open",
			Hint: "set the clock right; if it is right now, start the domain again"}
	}
	return nil
}

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
