package node

import (
	"context"
	"errors"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/attest/sm/pki"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/store"
)

// authorityRecord is the state of the domain's certificate authority: its certificate and its newest list. The key is a
// secret of the key vault.
type authorityRecord struct {
	Certificate string    `json:"certificate"`
	List        string    `json:"list"`
	Signed      time.Time `json:"signed"` // the list
}

// pairRecord is the pair of certificates an identity has.
type pairRecord struct {
	Identity sandbox.IdentityID `json:"identity"`
	Serials  []string           `json:"serials"`
	Revoked  bool               `json:"revoked,omitempty"`
}

const (
	authorityDoc    = "domain"
	authoritySecret = "authority"

	authorityYears = 10 * 365 * 24 * time.Hour
	pairYears      = 365 * 24 * time.Hour
	listValid      = 14 * 24 * time.Hour // a list is used no longer than this
	listEvery      = 24 * time.Hour      // and signed anew that often
)

// Authority gives the certificate of the domain's authority and its newest list; NotFound before its first certificate.
func (n *Node) Authority(ctx context.Context) (api.AuthorityInfo, error) {
	r, _, err := n.docs.authority.Get(ctx, authorityDoc)
	if errors.Is(err, sandbox.NotFound) {
		err = &sandbox.Error{Op: "authority", Kind: sandbox.NotFound, Object: "authority", Detail: "this domain has issued no certificates", Hint: "opdomain tlcp server --dir DIR --out FOLDER"}
	}
	return api.AuthorityInfo{Certificate: r.Certificate, Revoked: r.List}, err
}

// IssueCertificates certifies the keys of the caller's own identity; the pair it had is revoked.
func (n *Node) IssueCertificates(ctx context.Context, c api.Caller, r api.CertificateRequests) (api.CertificatePair, error) {
	name := pki.Name{Domain: n.desc.Domain, Party: string(c.Party.ID), Identity: c.Identity.ID, Role: c.Party.Role}
	return n.certify(ctx, name, r)
}

// CertifyServer certifies the keys that the domain's own front end answers with.
func (n *Node) CertifyServer(ctx context.Context, r api.CertificateRequests) (api.CertificatePair, error) {
	parties, err := n.docs.parties.List(ctx, store.Filter{State: string(sandbox.Agency), Limit: 1})
	if err != nil {
		return api.CertificatePair{}, err
	}
	if len(parties) == 0 {
		return api.CertificatePair{}, &sandbox.Error{Op: "authority", Kind: sandbox.Internal, Object: "agency", Detail: "the domain has none"}
	}
	return n.certify(ctx, pki.Name{Domain: n.desc.Domain, Party: parties[0].ID, Identity: domainIdentity, Role: sandbox.Agency}, r)
}

func (n *Node) certify(ctx context.Context, name pki.Name, r api.CertificateRequests) (out api.CertificatePair, err error) {
	if err := name.Check(); err != nil {
		return out, err
	}
	n.certifying.Lock()
	defer n.certifying.Unlock()
	err = n.change(ctx, name.Identity, func(ctx context.Context, tx *change) error {
		if _, _, err := n.docs.revocations.Get(ctx, string(name.Identity)); !errors.Is(err, sandbox.NotFound) {
			return errors.Join(err, &sandbox.Error{Op: "certificates", Kind: sandbox.Expired, Object: string(name.Identity), Detail: "the identity was revoked"})
		}
		a, err := n.authority(ctx, tx.at)
		if err != nil {
			return err
		}
		authority := a.PEM()
		ends := pairYears
		if c, err := pki.ParseCertificate(authority); err != nil {
			return err
		} else if left := c.NotAfter.Sub(tx.at); left < ends {
			ends = left - time.Second
		}
		sign, err := a.Issue(n.cfg.Rand, []byte(r.Sign), pki.Sign, name, tx.at, ends)
		if err != nil {
			return err
		}
		encrypt, err := a.Issue(n.cfg.Rand, []byte(r.Encrypt), pki.Encrypt, name, tx.at, ends)
		if err != nil {
			return err
		}
		if string(sign.Point()) == string(encrypt.Point()) {
			return &sandbox.Error{Op: "certificates", Kind: sandbox.Invalid, Object: "encrypt", Detail: "signing and encryption keys are separate"}
		}
		revoked, err := n.withdraw(ctx, tx, a, name.Identity, pki.Superseded)
		if err != nil {
			return err
		}
		p := pairRecord{Identity: name.Identity, Serials: []string{sign.Serial, encrypt.Serial}}
		if err := n.putPair(ctx, p, name.Party); err != nil {
			return err
		}
		if err := n.keepAuthority(ctx, a, tx.at); err != nil {
			return err
		}
		out = api.CertificatePair{Sign: string(sign.PEM()), Encrypt: string(encrypt.PEM()), Authority: string(authority)}
		body := attest.CertificatesIssuedBody{Identity: name.Identity, Serials: p.Serials, Revoked: revoked}
		for _, x := range []struct {
			to   *[]byte
			text []byte
		}{{&body.Authority, authority}, {&body.Sign, sign.PEM()}, {&body.Encrypt, encrypt.PEM()}} {
			d := sm.Sum(x.text)
			*x.to = d[:]
		}
		tx.record(attest.CertificatesIssued, "identity/"+string(name.Identity), body, agency, publicOf(sandbox.Party{ID: sandbox.PartyID(name.Party), Role: name.Role}))
		return nil
	})
	if err != nil {
		return api.CertificatePair{}, err
	}
	return out, nil
}

// authority opens the domain's authority, or makes it.
func (n *Node) authority(ctx context.Context, at time.Time) (*pki.Authority, error) {
	key, err := n.keys.SigningSecret(authoritySecret)
	if err != nil {
		return nil, err
	}
	r, _, err := n.docs.authority.Get(ctx, authorityDoc)
	if errors.Is(err, sandbox.NotFound) {
		return pki.NewAuthority(n.cfg.Rand, n.desc.Domain, key, at, authorityYears)
	}
	if err != nil {
		return nil, err
	}
	return pki.OpenAuthority([]byte(r.Certificate), key, []byte(r.List))
}

// keepAuthority signs the next list and keeps it with the certificate.
func (n *Node) keepAuthority(ctx context.Context, a *pki.Authority, at time.Time) error {
	list, err := a.CRL(n.cfg.Rand, at, at.Add(listValid))
	if err != nil {
		return err
	}
	r := authorityRecord{Certificate: string(a.PEM()), List: string(list), Signed: at}
	_, rev, err := n.docs.authority.Get(ctx, authorityDoc)
	if errors.Is(err, sandbox.NotFound) {
		return n.docs.authority.Insert(ctx, authorityDoc, "", "current", r)
	}
	if err == nil {
		_, err = n.docs.authority.Update(ctx, authorityDoc, rev, "", "current", r)
	}
	return err
}

func (n *Node) putPair(ctx context.Context, p pairRecord, party string) error {
	state := "current"
	if p.Revoked {
		state = "revoked"
	}
	_, rev, err := n.docs.pairs.Get(ctx, string(p.Identity))
	if errors.Is(err, sandbox.NotFound) {
		return n.docs.pairs.Insert(ctx, string(p.Identity), party, state, p)
	}
	if err == nil {
		_, err = n.docs.pairs.Update(ctx, string(p.Identity), rev, party, state, p)
	}
	return err
}

// withdraw puts the pair of an identity, if it has one, on the authority's next list, and gives its serial numbers.
func (n *Node) withdraw(ctx context.Context, tx *change, a *pki.Authority, id sandbox.IdentityID, why pki.Reason) ([]string, error) {
	p, _, err := n.docs.pairs.Get(ctx, string(id))
	if errors.Is(err, sandbox.NotFound) || err == nil && p.Revoked {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, s := range p.Serials {
		if err := a.Revoke(s, why, tx.at); err != nil {
			return nil, err
		}
	}
	return p.Serials, nil
}

// revokePair takes the certificates of an identity back together with the identity or its keys. Callers hold certifying.
func (n *Node) revokePair(ctx context.Context, tx *change, id sandbox.IdentityID, why pki.Reason) error {
	p, _, err := n.docs.pairs.Get(ctx, string(id))
	if errors.Is(err, sandbox.NotFound) || err == nil && p.Revoked {
		return nil
	}
	if err != nil {
		return err
	}
	a, err := n.authority(ctx, tx.at)
	if err != nil {
		return err
	}
	if _, err := n.withdraw(ctx, tx, a, id, why); err != nil {
		return err
	}
	p.Revoked = true
	who, _, err := n.docs.identities.Get(ctx, string(id))
	if err != nil {
		return err
	}
	return errors.Join(n.putPair(ctx, p, string(who.Party)), n.keepAuthority(ctx, a, tx.at))
}

// renewList signs the revocation list anew before it is too old to be used.
func (n *Node) renewList(ctx context.Context) error {
	r, _, err := n.docs.authority.Get(ctx, authorityDoc)
	if errors.Is(err, sandbox.NotFound) || err == nil && n.now().Sub(r.Signed) < listEvery {
		return nil
	}
	if err != nil {
		return err
	}
	n.certifying.Lock()
	defer n.certifying.Unlock()
	return n.change(ctx, domainIdentity, func(ctx context.Context, tx *change) error {
		a, err := n.authority(ctx, tx.at)
		if err != nil {
			return err
		}
		return n.keepAuthority(ctx, a, tx.at)
	})
}
