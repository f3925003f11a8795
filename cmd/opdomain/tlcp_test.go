package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/attest/sm/pki"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

// serverPair certifies keys for the world's front end into a file.
func (w *world) serverPair() string {
	w.t.Helper()
	sign, err := sm.NewSigningKey(w.rand)
	w.must(err)
	decrypt, err := sm.NewDecryptKey(w.rand)
	w.must(err)
	r, err := w.requests(serverIdentity, sign, decrypt)
	w.must(err)
	got, err := w.node.CertifyServer(w.t.Context(), r)
	w.must(err)
	path := filepath.Join(w.t.TempDir(), "pair.json")
	w.must(pairFile{CertificatePair: got, SignKey: sign.Bytes(), DecryptKey: decrypt.Bytes()}.save(path))
	return path
}

// certify gives an identity a pair, in a folder of its own.
func (w *world) certify(id sandbox.IdentityID, secret string) string {
	w.t.Helper()
	dir := w.t.TempDir()
	sign, decrypt, err := w.people[id].tlcpKeys(secret)
	w.must(err)
	r, err := w.requests(id, sign, decrypt)
	w.must(err)
	s := w.as(id)
	pair, err := result[api.CertificatePair](s.api.IssueCertificates(w.t.Context(), id, r))
	w.must(err)
	info, err := result[api.AuthorityInfo](s.api.GetAuthority(w.t.Context()))
	w.must(err)
	w.must(pairFile{CertificatePair: pair, Revoked: info.Revoked, Secret: secret, Fetched: w.read()}.save(filepath.Join(dir, identityPair)))
	return dir
}

// over gives a session of one identity over the certified connections of another.
func (w *world) over(tlcp, pair string, certified, signer sandbox.IdentityID) *session {
	w.t.Helper()
	w.app.as = pair
	url, t, err := w.transport(tlcp, w.people[certified])
	w.app.as = ""
	w.must(err)
	s, err := sessionOver(t, url, w.people[signer], w.now, w.rand)
	w.must(err)
	return s
}

func TestTLCPNamesWhoSigns(t *testing.T) {
	w := newWorld(t)
	at := address{listen: "127.0.0.1:0", tlcp: "127.0.0.1:0", pair: w.serverPair()}
	out := os.Stdout
	v, err := w.listen(context.Background(), w.node, at, slog.New(slog.DiscardHandler), api.NewMetrics())
	os.Stdout = out // taken from the protocol engine, which prints what peers send
	w.must(err)
	defer func() { w.must(v.close()) }()
	tlcp := v.also[0]
	list := func(s *session) error {
		_, err := result[[]catalog.Dataset](s.api.ListDatasets(t.Context()))
		return err
	}
	pair := w.certify("operator", "tlcp-1")
	own := w.over(tlcp, pair, "operator", "operator")
	w.must(list(own))
	kindOf(t, list(w.over(tlcp, pair, "operator", "insurer")), sandbox.Unsigned, "connection")

	// What is certified is what was enrolled: not another identity, not one key twice, nothing that does not prove possession.
	s := w.as("operator")
	k, err := sm.NewSigningKey(w.rand)
	w.must(err)
	d, err := sm.NewDecryptKey(w.rand)
	w.must(err)
	for what, id := range map[string]sandbox.IdentityID{"another": "insurer", "the front end": serverIdentity} {
		r, err := w.requests(id, k, d)
		w.must(err)
		if _, err := result[api.CertificatePair](s.api.IssueCertificates(t.Context(), "operator", r)); !errors.Is(err, sandbox.Denied) {
			t.Errorf("%s: %v", what, err)
		}
	}
	r, err := w.requests("operator", k, d)
	w.must(err)
	for what, r := range map[string]api.CertificateRequests{"one request twice": {Sign: r.Sign, Encrypt: r.Sign}, "no request": {Sign: r.Sign, Encrypt: "x"}} {
		if _, err := result[api.CertificatePair](s.api.IssueCertificates(t.Context(), "operator", r)); !errors.Is(err, sandbox.Invalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
	// A refused request has taken nothing back.
	w.must(list(own))

	// A second pair revokes the first; a revocation of the identity takes both ways in at once.
	info, err := w.node.Authority(t.Context())
	w.must(err)
	next := w.certify("operator", "tlcp-2")
	after, err := w.node.Authority(t.Context())
	w.must(err)
	if info.Revoked == after.Revoked || info.Certificate != after.Certificate {
		t.Error("the list did not change, or the authority did")
	}
	w.must(list(w.over(tlcp, next, "operator", "operator")))
	var old pairFile
	w.must(w.readJSON(filepath.Join(pair, identityPair), &old))
	verifier, err := pki.NewVerifier(w.now, []byte(after.Certificate))
	w.must(err)
	w.must(verifier.SetCRL([]byte(after.Revoked)))
	for usage, c := range map[pki.Usage]string{pki.Sign: old.Sign, pki.Encrypt: old.Encrypt} {
		if _, err := verifier.Check([]byte(c), usage, time.Time{}); !errors.Is(err, pki.Revoked) {
			t.Errorf("%s certificate before: %v", usage, err)
		}
	}
	_, err = body(w.as("agency").api.RevokeIdentity(t.Context(), "operator", api.RevocationRequest{Reason: "left"}))
	w.must(err)
	if err := list(w.over(tlcp, next, "operator", "operator")); err == nil {
		t.Error("a revoked identity got through")
	}
	if r, _ := w.disclosed("auditor"); r.Events[attest.CertificatesIssued] != 3 { // the front end, and the operator twice
		t.Errorf("%+v", r.Events)
	}
}

// TestListStaysFresh: the revocation list is signed anew before it is too old, and a client past its own asks for the newer one.
func TestListStaysFresh(t *testing.T) {
	w := newWorld(t)
	w.serverPair()
	before, err := w.node.Authority(t.Context())
	w.must(err)
	w.must(w.node.Tend(t.Context()))
	if same, err := w.node.Authority(t.Context()); err != nil || same != before {
		t.Errorf("signed anew within a day: %v", err)
	}
	w.move(func(at time.Time) time.Time { return at.Add(25 * time.Hour) })
	w.must(w.node.Tend(t.Context()))
	after, err := w.node.Authority(t.Context())
	w.must(err)
	if after.Revoked == before.Revoked {
		t.Error("the list is a day old")
	}
}
