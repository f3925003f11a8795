package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/attest/channel"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/connectors"
	"github.com/opdomain/opdomain/connectors/push"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/batch"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/ingest/wire"
)

// session is one identity talking to one domain.
type session struct {
	id   *identity
	api  *api.Client
	now  func() time.Time
	rand io.Reader
}

func newSession(server string, id *identity, now func() time.Time, rand io.Reader) (*session, error) {
	return sessionOver(&http.Transport{MaxIdleConnsPerHost: 4}, server, id, now, rand)
}

func sessionOver(t *http.Transport, server string, id *identity, now func() time.Time, rand io.Reader) (*session, error) {
	opts := []api.ClientOption{api.WithHTTPClient(&http.Client{Transport: t})}
	if id != nil {
		signer := api.Signer{Identity: id.ID, Key: id.keys.SigningKey(), Rand: rand, Now: now}
		opts = append(opts, api.WithRequestEditorFn(signer.Sign))
	}
	c, err := api.NewClient(server, opts...)
	if err != nil {
		return nil, err
	}
	return &session{id: id, api: c, now: now, rand: rand}, nil
}

// checkServer refuses an address that no domain can have, before a passphrase is asked for.
func checkServer(server string) error {
	u, err := url.Parse(server)
	if err == nil && u.Hostname() != "" && u.Opaque == "" && u.User == nil && slices.Contains([]string{"http", "https", strings.TrimSuffix(tlcpScheme, "://")}, u.Scheme) {
		return nil
	}
	return usageError{invalid("--server", "http://, https:// or tlcp:// before host and port", "e.g. --server http://127.0.0.1:8471")}
}

// connect opens the identity named by --as and a session to --server.
func (a *app) connect() (*session, error) {
	if a.as == "" {
		return nil, usageError{invalid("--as", "this command signs its requests", "name an identity's folder, e.g. --as DIR/identities/operator")}
	}
	if err := checkServer(a.server); err != nil {
		return nil, err
	}
	id, err := a.identity()
	if err != nil {
		return nil, err
	}
	server, t, err := a.transport(a.server, id)
	if err != nil {
		return nil, err
	}
	s, err := sessionOver(t, server, id, a.now, a.rand)
	if err == nil && server != a.server { // TLCP
		err = errors.Join(silence(), a.freshen(context.Background(), s))
	}
	return s, err
}

// identity opens the folder named by --as.
func (a *app) identity() (*identity, error) {
	if _, err := os.Stat(filepath.Join(a.as, identityFile)); err != nil {
		return nil, &sandbox.Error{Op: "identity", Kind: sandbox.NotFound, Object: a.as, Detail: "no identity in this folder", Hint: "name one with --as, e.g. DIR/identities/operator"}
	}
	p, err := a.passphraseFor(a.as)
	if err != nil {
		return nil, err
	}
	return openIdentity(a.as, p, a.rand)
}

// maxAnswer bounds one answer of a domain in bytes.
const maxAnswer = 64 << 20

// result reads an answer: T, or the domain's error.
func result[T any](r *http.Response, err error) (T, error) {
	var out T
	b, err := body(r, err)
	if err != nil || len(b) == 0 {
		return out, err
	}
	if err := json.Unmarshal(b, &out); err != nil {
		return out, &sandbox.Error{Op: "request", Kind: sandbox.Invalid, Object: "answer", Detail: "not what a domain answers"}
	}
	return out, nil
}

func body(r *http.Response, err error) ([]byte, error) {
	if err != nil {
		var e *sandbox.Error
		if errors.As(err, &e) {
			return nil, e
		}
		if errors.Is(err, context.Canceled) { // by who waits for the answer
			return nil, err
		}
		return nil, &sandbox.Error{Op: "request", Kind: sandbox.Unavailable, Object: "domain", Detail: "cannot be reached", Hint: "is it running? opdomain serve --dir DIR; name its address with --server"}
	}
	defer r.Body.Close()
	b, err := io.ReadAll(io.LimitReader(r.Body, maxAnswer))
	if err != nil {
		return nil, &sandbox.Error{Op: "request", Kind: sandbox.Unavailable, Object: "domain", Detail: "the answer broke off", Err: err}
	}
	return b, api.Failure(r.StatusCode, b)
}

// domain describes the domain.
func (s *session) domain(ctx context.Context) (api.DomainInfo, error) {
	return result[api.DomainInfo](s.api.GetDomain(ctx))
}

// seal seals a small JSON secret to the domain's encryption key.
func (s *session) seal(info api.DomainInfo, context string, v any) ([]byte, error) {
	key, err := sm.ParseEncryptKey(info.EncryptKey)
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return key.SealMessage(s.rand, context, b)
}

// push sends a source's rows to a dataset as one run, over as many streams as it takes: openings, then sealed frames as the
// source gives them. A run that was committed before gives the same report to the same rows, and is Conflict to others.
func (s *session) push(ctx context.Context, info api.DomainInfo, d catalog.Dataset, run sandbox.RunID, source func(context.Context) (connectors.Source, error), progress func(rows int64)) (api.PushReport, error) {
	return s.pushOffered(ctx, info, offered{Dataset: d}, run, source, progress)
}

// pushOffered is push under a schema that may have drifted from the registered one.
func (s *session) pushOffered(ctx context.Context, info api.DomainInfo, d offered, run sandbox.RunID, source func(context.Context) (connectors.Source, error), progress func(rows int64)) (api.PushReport, error) {
	key, err := sm.ParseEncryptKey(info.EncryptKey)
	if err != nil {
		return api.PushReport{}, err
	}
	schema := batch.SchemaBytes(d.Dataset)
	digest := sm.Sum(schema)
	t := &stream{session: s}
	_, err = push.Run(ctx, t, push.Plan{Source: source, Sleep: sleep, Tries: pushTries, Progress: progress, Opening: func() (wire.Opening, *channel.Secret, error) {
		o, secret, err := channel.NewOpening(s.rand, key, channel.Opening{From: s.id.ID, To: info.Identity, Domain: info.Domain, Run: run, Dataset: d.ID,
			SchemaDigest: digest[:], Created: s.now()})
		return wire.Opening{Stream: o, Schema: schema, Declared: d.declared}, secret, err
	}})
	return t.report, err
}

// pushTries bounds the streams of a run.
const pushTries = 6

// stream carries a run's messages as signed requests.
type stream struct {
	session *session
	report  api.PushReport
}

func (t *stream) Open(ctx context.Context, opening []byte) (wire.Standing, error) {
	s := t.session
	sig, err := s.id.keys.SigningKey().Sign(s.rand, channel.Context, opening)
	if err != nil {
		return wire.Standing{}, err
	}
	p, err := result[api.Push](s.api.OpenPush(ctx, api.PushOpening{Opening: opening, Signature: sig}))
	if err != nil {
		return wire.Standing{}, err
	}
	out := wire.Standing{Run: p.Run, Dataset: p.Dataset, State: wire.State(p.State), ResumeFrom: p.ResumeFrom, Prefix: p.Prefix}
	if p.Report != nil {
		t.report = *p.Report
	}
	return out, nil
}

func (t *stream) Frames(ctx context.Context, opening []byte, run sandbox.RunID, body io.ReadCloser) (wire.Report, error) {
	var err error
	t.report, err = result[api.PushReport](t.session.api.PutFramesWithBody(api.WithOpening(ctx, opening), run, "application/vnd.opdomain.frames", body))
	return wire.Report{Run: run}, err
}

// allocator pays for batches on the sending side.
func allocator() memory.Allocator { return memory.NewGoAllocator() }

// compact prints JSON on one line.
func compact(b []byte) []byte {
	var out bytes.Buffer
	if json.Compact(&out, b) != nil {
		return b
	}
	return out.Bytes()
}
