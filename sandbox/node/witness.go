package node

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/attest/tlog"
	"github.com/opdomain/opdomain/attest/witness"
	"github.com/opdomain/opdomain/sandbox"
)

// Witness (见证方) is one witness of the domain's evidence, of which party it is, and where.
type Witness struct {
	Name  string          `json:"name"`
	Party sandbox.PartyID `json:"party"`
	URL   string          `json:"url"`
	Key   []byte          `json:"key"` // uncompressed SM2 point, 65 bytes
}

// Witnesses (见证方名单) is who must have seen the evidence before anything leaves: Quorum of them.
type Witnesses struct {
	Quorum    int       `json:"quorum"`
	Witnesses []Witness `json:"witnesses"`
}

const witnessDoc = "policy"

const (
	witnessTimeout = 10 * time.Second // of one round to the witnesses
	maxApart       = 24 * time.Hour   // of the witnesses' clocks and the host's
)

func (w Witnesses) check() error {
	bad := func(object, rule string) error {
		return &sandbox.Error{Op: "witnesses", Kind: sandbox.Invalid, Object: object, Detail: rule}
	}
	if w.Quorum < 1 || w.Quorum > len(w.Witnesses) || len(w.Witnesses) > tlog.MaxWitnesses {
		return bad("quorum", "1 to 64 witnesses and a quorum of 1 to as many as there are")
	}
	seen := map[string]bool{}
	for _, x := range w.Witnesses {
		if err := sandbox.CheckID("witness", x.Name); err != nil {
			return err
		}
		if seen[x.Name] || x.URL == "" || len(x.URL) > 512 {
			return bad(x.Name, "a witness stands once, with an address")
		}
		seen[x.Name] = true
		if _, err := sm.ParseVerifyKey(x.Key); err != nil {
			return bad(x.Name, "the key is an SM2 point on the curve, 65 bytes")
		}
	}
	return nil
}

// clients gives the witnesses as they are talked to, and what their signatures must amount to.
func (n *Node) clients(w Witnesses) ([]witness.Client, tlog.Policy, error) {
	p := tlog.Policy{Log: n.keys.SigningKey().Public(), Quorum: w.Quorum}
	var out []witness.Client
	for _, x := range w.Witnesses {
		k, err := sm.ParseVerifyKey(x.Key)
		if err != nil {
			return nil, p, err
		}
		out = append(out, witness.Client{Name: x.Name, URL: x.URL, Key: k, HTTP: &http.Client{Timeout: witnessTimeout}})
		p.Witnesses = append(p.Witnesses, tlog.WitnessKey{Name: x.Name, Key: k})
	}
	return out, p, nil
}

// witnesses gives the list in force; empty before one was set.
func (n *Node) witnesses(ctx context.Context) (Witnesses, error) {
	w, _, err := n.docs.witnesses.Get(ctx, witnessDoc)
	if errors.Is(err, sandbox.NotFound) {
		return Witnesses{}, nil
	}
	return w, err
}

// SetWitnesses sets who must see the evidence. Witnesses are added and may move; none is taken away or given another key,
// and the quorum is not lowered: whoever could do that could put the log back first.
func (n *Node) SetWitnesses(ctx context.Context, w Witnesses) error {
	if err := w.check(); err != nil {
		return err
	}
	old, err := n.witnesses(ctx)
	if err != nil {
		return err
	}
	for _, x := range old.Witnesses {
		if !slices.ContainsFunc(w.Witnesses, func(y Witness) bool { return y.Name == x.Name && slices.Equal(y.Key, x.Key) }) {
			return &sandbox.Error{Op: "witnesses", Kind: sandbox.Denied, Object: x.Name, Detail: "a witness is not taken away and keeps its key", Hint: "leave it in the list; a quorum below the number of witnesses bears the loss of one"}
		}
	}
	if w.Quorum < old.Quorum {
		return &sandbox.Error{Op: "witnesses", Kind: sandbox.Denied, Object: "quorum", Detail: "the quorum is not lowered"}
	}
	// They must agree to it: a list nobody answers for would stop every release.
	clients, policy, err := n.clients(w)
	if err != nil {
		return err
	}
	if n.Waiting() && len(old.Witnesses) > 0 { // they may have moved: the same ones, by name and key, are asked where they are now
		moved := Witnesses{Quorum: old.Quorum}
		for _, x := range w.Witnesses {
			if slices.ContainsFunc(old.Witnesses, func(y Witness) bool { return y.Name == x.Name }) {
				moved.Witnesses = append(moved.Witnesses, x)
			}
		}
		n.confirming.Lock()
		err := n.confirmBy(ctx, moved)
		n.confirming.Unlock()
		if err != nil {
			return err
		}
	}
	if err := n.collect(ctx, clients, policy); err != nil {
		return err
	}
	err = n.change(ctx, domainIdentity, func(ctx context.Context, tx *change) error {
		_, rev, err := n.docs.witnesses.Get(ctx, witnessDoc)
		if errors.Is(err, sandbox.NotFound) {
			err = n.docs.witnesses.Insert(ctx, witnessDoc, "", "set", w)
		} else if err == nil {
			_, err = n.docs.witnesses.Update(ctx, witnessDoc, rev, "", "set", w)
		}
		if err != nil {
			return err
		}
		body := attest.WitnessesSetBody{Quorum: w.Quorum}
		for _, x := range w.Witnesses {
			body.Witnesses = append(body.Witnesses, attest.WitnessBody{Name: x.Name, Party: x.Party, Key: x.Key})
		}
		tx.record(attest.WitnessesSet, "domain/"+n.desc.Domain, body, agency, everyone)
		return nil
	})
	if err != nil {
		return err
	}
	return n.witness(ctx)
}

// How far a domain has come since it was opened.
const (
	waits   int32 = iota // for its witnesses: nothing changes, no request is taken
	takesOn              // what a crash has left is being brought together
	admits
)

// admitted says why a domain takes no request; nil for one that does. Witnesses that fall silent later do not stop it: once they have said
// that it is the newest state, it goes on without them, and only nothing leaves.
func (n *Node) admitted() error {
	if f := n.forked.Load(); f != nil {
		return f
	}
	if n.admitting.Load() != admits {
		return &sandbox.Error{Op: "open", Kind: sandbox.Unavailable, Object: "witnesses", Detail: "too few witnesses have answered since the start to know that this is the newest state of the domain: it takes no request until they have",
			Hint: "start the witnesses, or look at the network between; one that has moved is given with serve --witness URL=FILE"}
	}
	return nil
}

// Forked says that a witness has proved this domain's state to be an older or another one; it takes no request any more.
func (n *Node) Forked() error {
	if f := n.forked.Load(); f != nil {
		return f
	}
	return nil
}

// Waiting says whether the domain still waits for its witnesses.
func (n *Node) Waiting() bool { return n.admitting.Load() != admits }

// confirm asks the witnesses, when a domain was opened, whether its log is the newest they know, and then takes it on. One that
// has seen more is proof that the folder was put back, and the domain stays closed. So many must show what they have
// signed that of any quorum one is among them: whoever puts a folder back can also cut the network.
func (n *Node) confirm(ctx context.Context) error {
	n.confirming.Lock()
	defer n.confirming.Unlock()
	if n.admitting.Load() == admits {
		return nil
	}
	w, err := n.witnesses(ctx)
	if err != nil {
		return err
	}
	return n.confirmBy(ctx, w)
}

func (n *Node) confirmBy(ctx context.Context, w Witnesses) error {
	for _, x := range n.cfg.Witnesses {
		at := slices.IndexFunc(w.Witnesses, func(y Witness) bool { return y.Name == x.Name && slices.Equal(y.Key, x.Key) })
		if at < 0 {
			w.Witnesses = append(w.Witnesses, x)
		} else {
			w.Witnesses[at].URL = x.URL // it has moved
		}
	}
	if len(w.Witnesses) > 0 {
		clients, _, err := n.clients(w)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, witnessTimeout)
		defer cancel()
		_, shown, _, err := witness.Behind(ctx, n.evidence.Log(), clients)
		if err != nil {
			return n.contradicted(err)
		}
		if shown < len(w.Witnesses)-max(w.Quorum, 1)+1 {
			return n.admitted()
		}
	}
	kept, ok, err := n.evidence.Log().Witnessed()
	if err != nil {
		return err
	}
	if ok {
		n.witnessed.Store(kept.Size)
	}
	n.admitting.Store(takesOn)
	if err := n.takeOn(context.WithoutCancel(ctx)); err != nil {
		n.admitting.Store(waits)
		return err
	}
	n.admitting.Store(admits)
	return nil
}

// contradicted closes the domain for good when err is a witness's proof against its log.
func (n *Node) contradicted(err error) error {
	var e *sandbox.Error
	if errors.As(err, &e) && e.Kind == sandbox.Tampered {
		n.forked.CompareAndSwap(nil, e)
	}
	return err
}

// witness has the checkpoint of now signed by the witnesses; nothing to do without any.
func (n *Node) witness(ctx context.Context) error {
	w, err := n.witnesses(ctx)
	if err != nil || len(w.Witnesses) == 0 {
		return err
	}
	clients, policy, err := n.clients(w)
	if err != nil {
		return err
	}
	return n.collect(ctx, clients, policy)
}

func (n *Node) collect(ctx context.Context, clients []witness.Client, policy tlog.Policy) error {
	n.witnessing.Lock()
	defer n.witnessing.Unlock()
	if n.witnessed.Load() >= n.evidence.Log().Size() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, witnessTimeout)
	defer cancel()
	note, failed := witness.Collect(ctx, n.evidence.Log(), clients)
	for _, cause := range failed {
		if errors.Is(cause, sandbox.Tampered) { // what it says counts when it can show it
			if _, _, _, err := witness.Behind(ctx, n.evidence.Log(), clients); err != nil {
				return n.contradicted(err)
			}
		}
	}
	names, _, err := policy.Verify(note)
	if err != nil {
		for _, cause := range failed {
			if errors.Is(cause, sandbox.Tampered) {
				return cause
			}
		}
		return &sandbox.Error{Op: "witnesses", Kind: sandbox.Unavailable, Object: "quorum", Detail: "too few witnesses have signed the evidence: nothing leaves until they have",
			Hint: "start the witnesses, or look at the network between; opdomain doctor names them", Err: err}
	}
	// The earliest of their times: one witness that lies does not move the domain's time on.
	var seen time.Time
	for _, s := range note.Cosignatures {
		if slices.Contains(names, s.Name) && (seen.IsZero() || s.Time.Before(seen)) {
			seen = s.Time
		}
	}
	if seen.Sub(n.now()) > maxApart {
		return &sandbox.Error{Op: "witnesses", Kind: sandbox.Unavailable, Object: "clock", Detail: "the witnesses' clocks are more than a day ahead of this machine's: nothing leaves until they agree",
			Hint: "set this machine's clock right, or theirs"}
	}
	if err := n.evidence.Log().SetWitnessed(note); err != nil {
		return err
	}
	n.passed(seen)
	n.witnessed.Store(note.Size)
	return nil
}

// proven waits until a quorum of witnesses has seen everything that has happened. It stands before every answer that
// carries a release.
func (n *Node) proven(ctx context.Context) error {
	if n.witnessed.Load() >= n.evidence.Log().Size() {
		return nil
	}
	return n.witness(ctx)
}

// unreachable names the witnesses that do not answer.
func (n *Node) unreachable(ctx context.Context, w Witnesses) ([]string, error) {
	clients, _, err := n.clients(w)
	if err != nil {
		return nil, err
	}
	_, _, failed, err := witness.Behind(ctx, n.evidence.Log(), clients)
	var out []string
	for name := range failed {
		out = append(out, name)
	}
	slices.Sort(out)
	return out, err
}
