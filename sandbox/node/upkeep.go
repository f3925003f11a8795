package node

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/keys"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/doctor"
	"github.com/opdomain/opdomain/sandbox/store"
	"github.com/opdomain/opdomain/sandbox/vault"
)

// Status (运行状态) is what the owner of the machine may know about a running domain.
type Status struct {
	Domain        string    `json:"domain"`
	Keys          string    `json:"keys"` // driver and mechanism
	KeysInFiles   bool      `json:"keys_in_files"`
	KeyFault      string    `json:"key_fault,omitempty"`
	Size          uint64    `json:"size"`   // entries of the log
	Newest        time.Time `json:"newest"` // time that evidence or a witness has seen
	Witnesses     []string  `json:"witnesses"`
	WitnessList   []Witness `json:"witness_list,omitempty"`
	Quorum        int       `json:"quorum"`
	Unreachable   []string  `json:"unreachable,omitempty"`
	Waiting       bool      `json:"waiting"`   // for witnesses, since the start: no request is taken
	Witnessed     uint64    `json:"witnessed"` // entries a quorum of witnesses has signed for
	Overdue       int       `json:"overdue"`   // datasets behind their update frequency
	Stages        int       `json:"stages"`    // pushes that wait to be resumed
	CalendarShort bool      `json:"calendar_short"`
	Guarded       bool      `json:"guarded"`       // the process is closed to core dumps and tracing
	ConstantTime  bool      `json:"constant_time"` // single SM4 blocks run in constant time
	// Isolation is nil where the domain starts no plug-ins.
	Isolation *Isolation `json:"isolation,omitempty"`
}

// Status describes the domain to the owner of its machine.
func (n *Node) Status(ctx context.Context) (Status, error) {
	d := n.keys.Device()
	s := Status{Domain: n.desc.Domain, Keys: d.Driver + ", " + d.Mechanism, KeysInFiles: !d.Erases, Size: n.evidence.Log().Size(), Witnesses: []string{},
		Isolation: n.isolation(), Guarded: doctor.Guarded(), ConstantTime: os.Getenv(doctor.ConstantTime) == "1"}
	if err := n.keys.Check(); err != nil {
		s.KeyFault = err.Error()
	}
	w, err := n.witnesses(ctx)
	if err != nil {
		return s, err
	}
	s.WitnessList = w.Witnesses
	for _, x := range w.Witnesses {
		s.Witnesses = append(s.Witnesses, x.Name)
	}
	s.Quorum, s.Witnessed, s.Waiting = w.Quorum, n.witnessed.Load(), n.Waiting()
	if s.Unreachable, err = n.unreachable(ctx, w); err != nil {
		return s, err
	}
	s.Newest = time.Unix(0, n.latest.Load()).UTC()
	s.CalendarShort = !n.calendarCovers(n.now())
	stale, err := n.overdue(ctx, store.Filter{}, n.now())
	if err != nil {
		return s, err
	}
	s.Overdue = len(stale)
	stages, err := n.vault.Stages()
	s.Stages = len(stages)
	return s, err
}

// RotateKeys gives a source unit, or with no unit the domain, a new key-encrypting key, and wraps everything under it
// again while jobs run. What was rotated is evidence.
func (n *Node) RotateKeys(ctx context.Context, unit sandbox.PartyID) (keys.Rotation, error) {
	var r keys.Rotation
	var err error
	if unit == "" {
		r, err = n.keys.RotateRoot()
	} else {
		r, err = n.keys.RotateUnit(unit)
	}
	if err != nil {
		return r, err
	}
	return r, n.change(ctx, domainIdentity, func(_ context.Context, tx *change) error {
		tx.record(attest.KeyRotated, "key/"+string(r.KEK), attest.KeyRotatedBody{Key: r.KEK, From: r.From, To: r.To, Rewrapped: r.Rewrapped}, agency, everyone)
		return nil
	})
}

// ChangePassphrase changes what opens the key vault.
func (n *Node) ChangePassphrase(_ context.Context, current, next []byte) error {
	return n.keys.ChangePassphrase(current, next, keys.Params{})
}

// SharedKeys (密钥分片备份) is the key folder as an archive, and the texts of the shares that open it.
type SharedKeys struct {
	Archive []byte   `json:"archive"`
	Shares  [][]byte `json:"shares"`
}

// ShareKeys exports the key folder for a threshold backup. That it was made is known to later erasure certificates.
func (n *Node) ShareKeys(threshold, shares int) (SharedKeys, error) {
	b, err := n.keys.ExportShares(n.desc.Domain, threshold, shares, n.now())
	if err != nil {
		return SharedKeys{}, err
	}
	out := SharedKeys{Archive: b.Archive}
	for _, s := range b.Shares {
		out.Shares = append(out.Shares, s.Text())
	}
	return out, nil
}

// Collect removes the files of versions whose key was destroyed, and the keys of pushes that came to nothing.
func (n *Node) Collect(ctx context.Context) (vault.Collected, error) {
	c, err := n.vault.Collect(ctx)
	return c, errors.Join(err, n.discardUnused())
}

// discardUnused removes version keys that no version names: those of pushes that were broken off.
func (n *Node) discardUnused() error {
	used, err := n.vault.Keys()
	if err != nil {
		return err
	}
	orphans, err := n.keys.Unused(func(id sandbox.KeyID) bool { return used[id] })
	if err != nil {
		return err
	}
	for _, id := range orphans {
		if err := n.keys.Discard(id); err != nil && !errors.Is(err, sandbox.NotFound) {
			return err
		}
	}
	return nil
}

// Tend does what comes round every minute: pushes left open too long end, overdue datasets are counted, the revocation list
// is kept fresh, reviews expire and answers under a template leave at their slot, sums that wait too long for an epoch are withheld, runs of secret models whose party is silent or shut out end, and the checkpoint goes to the witnesses.
func (n *Node) Tend(ctx context.Context) error {
	if n.Waiting() {
		if err := n.confirm(ctx); err != nil {
			return err
		}
	}
	late, err := n.overdue(ctx, store.Filter{}, n.now())
	if err == nil {
		n.cfg.Metrics.Overdue(len(late))
	}
	n.TendJoints(ctx)
	return errors.Join(err, n.EndStalePushes(ctx), n.renewList(ctx), n.arriveAll(ctx), n.endStaleSums(ctx), n.witness(ctx))
}

var _ api.Registrar = (*Node)(nil)
