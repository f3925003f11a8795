package node

import (
	"context"
	"errors"
	"time"

	"github.com/opdomain/opdomain/sandbox/jail"
)

// canaryEvery is how often the jail is attacked from inside.
const canaryEvery = time.Hour

// Isolation (隔离状况) is what a domain knows of its jail. Without the layers of a tier plug-ins of that tier are refused; with an
// attack that worked all of them are, until the domain starts again.
type Isolation struct {
	Parts   []jail.Part `json:"parts"`
	Tiers   []jail.Tier `json:"tiers"`             // whose layers the machine has
	Tried   time.Time   `json:"tried,omitzero"`    // when every attack of the canary last failed
	Attacks int         `json:"attacks,omitempty"` // in that run
	Halted  string      `json:"halted,omitempty"`  // why nothing starts
}

// canaryTiers in the order of what they promise: the first one that the machine has is attacked, W with T1
// and Wp with T1p, and the others by their first plug-in.
var canaryTiers = []jail.Tier{jail.T1, jail.T1p}

// TryIsolation runs the canary when its hour has come; who serves a domain calls it at the start and every minute, from one goroutine.
// An attack that works stops plug-ins, not the questions that the domain's own engine computes: no foreign code is in those.
func (n *Node) TryIsolation(ctx context.Context) error {
	l := n.cfg.Jail
	if l == nil {
		return nil
	}
	n.jailMu.Lock()
	tried := n.jailTried
	n.jailMu.Unlock()
	if err := l.Halted(); err != nil || !tried.IsZero() && n.now().Before(tried.Add(canaryEvery)) {
		return err
	}
	attacks, err := tryTiers(func(t jail.Tier) bool { return len(l.Probe().Missing(t)) == 0 }, func(t jail.Tier) (jail.Verdict, error) { return l.Canary(ctx, t) })
	if err != nil {
		return err
	}
	n.jailMu.Lock()
	defer n.jailMu.Unlock()
	n.jailTried, n.jailAttacks = n.now(), attacks
	return nil
}

// tryTiers attacks the first of canaryTiers that the machine has, and T2, a kernel apart. A tier of which nothing is known keeps no
// other from being attacked.
func tryTiers(has func(jail.Tier) bool, canary func(jail.Tier) (jail.Verdict, error)) (attacks int, err error) {
	tiers := []jail.Tier{}
	for _, t := range canaryTiers {
		if has(t) {
			tiers = append(tiers, t)
			break
		}
	}
	if has(jail.T2) {
		tiers = append(tiers, jail.T2)
	}
	for _, t := range tiers {
		v, failed := canary(t)
		attacks, err = attacks+v.Attacks, errors.Join(err, failed)
	}
	return attacks, err
}

// isolation is nil where no plug-in can be started at all, by configuration.
func (n *Node) isolation() *Isolation {
	l := n.cfg.Jail
	if l == nil {
		return nil
	}
	i := &Isolation{Parts: l.Probe().Parts}
	for _, t := range jail.Tiers() {
		if len(l.Probe().Missing(t)) == 0 {
			i.Tiers = append(i.Tiers, t)
		}
	}
	if err := l.Halted(); err != nil {
		i.Halted = err.Error()
	}
	n.jailMu.Lock()
	defer n.jailMu.Unlock()
	if i.Attacks = n.jailAttacks; i.Attacks > 0 {
		i.Tried = n.jailTried.UTC()
	}
	return i
}
