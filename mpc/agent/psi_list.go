package agent

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/mpc/psi"
	"github.com/opdomain/opdomain/mpc/psi/session"
	"github.com/opdomain/opdomain/sandbox"
)

// listFile is a signed list as it is written: it shows no element.
type listFile struct {
	Agency sandbox.PartyID `json:"agency"`
	Name   string          `json:"name"`
	Until  time.Time       `json:"until"`
	Count  uint64          `json:"count"`
	Root   string          `json:"root"`
	Sig    []byte          `json:"sig"`
}

// setCertificateFile is an agency's certificate of the points of one job.
type setCertificateFile struct {
	Points string `json:"points"`
	Sig    []byte `json:"sig"`
}

// psiList signs a list of elements as its agency and prints what a plan says of it.
func (a *Agent) psiList(ctx context.Context, f *pairFlags) error {
	until, err := parseTime("--until", f.until)
	if err != nil {
		return err
	}
	if err := sandbox.CheckID("agency", f.agency); err != nil {
		return err
	}
	l, err := a.agencyList(ctx, f)
	if err != nil {
		return err
	}
	v, err := a.vault(f)
	if err != nil {
		return err
	}
	defer v.Close()
	s, err := psi.SignList(a.Rand, v.SigningKey(), sandbox.PartyID(f.agency), f.name, until, l)
	if err != nil {
		return err
	}
	text, err := json.Marshal(listFile{s.Agency, s.Name, s.Until, s.Count, hex.EncodeToString(s.Root[:]), s.Sig})
	if err != nil {
		return err
	}
	if err := create(f.out, text); err != nil {
		return err
	}
	says, err := json.Marshal(psi.Authority{Kind: psi.Listed, Key: v.SigningKey().Public().Fingerprint(), List: &s.Root})
	if err != nil {
		return err
	}
	point, err := json.Marshal(v.SigningKey().Public().Bytes())
	if err != nil {
		return err
	}
	fmt.Fprintf(a.Out, "authority (元素授权): %s\nagency: %s\n", says, point)
	return nil
}

// agencyList makes the tree over the elements of a table under the agency's key of salts.
func (a *Agent) agencyList(ctx context.Context, f *pairFlags) (*psi.List, error) {
	key, err := readHex(f.listKey)
	if err != nil {
		return nil, err
	}
	e, err := a.readSet(ctx, f, nil, psi.Receiver)
	if err != nil {
		return nil, err
	}
	return psi.NewList(e.set, key)
}

// psiCertify says, as the agency that keeps the list, that the set which a party opened to it is on the list, and certifies its points.
func (a *Agent) psiCertify(ctx context.Context, f *pairFlags) error {
	x, err := readAgreement(f.plan)
	if err != nil {
		return err
	}
	p, ok := x.(*session.Plan)
	if !ok || p.Place(sandbox.PartyID(f.party)) < 0 {
		return &sandbox.Error{Op: "party psi certify", Kind: sandbox.Invalid, Object: f.plan, Detail: "a psi plan that the party is in"}
	}
	side := psi.Side(p.Place(sandbox.PartyID(f.party)))
	text, err := readFile(f.list)
	if err != nil {
		return err
	}
	var l listFile
	if json.Unmarshal(text, &l) != nil {
		return &sandbox.Error{Op: "party psi certify", Kind: sandbox.Invalid, Object: f.list, Detail: "a signed list in JSON"}
	}
	root, err := hex.DecodeString(l.Root)
	if err != nil || len(root) != sm.Size {
		return &sandbox.Error{Op: "party psi certify", Kind: sandbox.Invalid, Object: f.list, Detail: "a root of 64 hex digits"}
	}
	signed := &psi.SignedList{Agency: l.Agency, Name: l.Name, Until: l.Until, Count: l.Count, Root: [sm.Size]byte(root), Sig: l.Sig}
	v, err := a.vault(f)
	if err != nil {
		return err
	}
	defer v.Close()
	if err := signed.Verify(v.SigningKey().Public(), a.Now()); err != nil {
		return err
	}
	tree, err := a.agencyList(ctx, &pairFlags{keys: f.keys, passphrase: f.passphrase, table: f.listTable, column: f.listColumn, listKey: f.listKey})
	if err != nil {
		return err
	}
	if tree.Root() != signed.Root {
		return &sandbox.Error{Op: "party psi certify", Kind: sandbox.Conflict, Object: f.listTable, Detail: "table and key are those that the list was signed over"}
	}
	own, err := a.readSet(ctx, f, p, side)
	if err != nil {
		return err
	}
	secret, err := a.jobSecret(f.secret, false)
	if err != nil {
		return err
	}
	c, err := psi.Certify(a.Rand, v.SigningKey(), &p.Job, side, signed, func(row int) psi.Proof {
		e, _ := own.set.Element(row)
		proof, _ := tree.Prove(e) // of a stranger: a proof that shows nothing
		return proof
	}, own.set, own.values, secret, 0)
	if err != nil {
		return err
	}
	out, err := json.Marshal(setCertificateFile{hex.EncodeToString(c.Points[:]), c.Sig})
	if err != nil {
		return err
	}
	return create(f.out, out)
}

func readSetCertificate(path string) (*psi.Certificate, error) {
	text, err := readFile(path)
	if err != nil {
		return nil, err
	}
	var x setCertificateFile
	bad := json.Unmarshal(text, &x) != nil
	b, err := hex.DecodeString(x.Points)
	if bad || err != nil || len(b) != sm.Size {
		return nil, &sandbox.Error{Op: "party psi run", Kind: sandbox.Invalid, Object: path, Detail: "a certificate of points in JSON"}
	}
	return &psi.Certificate{Points: [sm.Size]byte(b), Sig: x.Sig}, nil
}
