package api_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
	. "github.com/opdomain/opdomain/sandbox/api"
)

// TestCallerThatGoesAwayIsNoFault: a push whose connection ends is logged as that, at INFO; a fault that is the domain's own
// stays one, whatever became of the connection.
func TestCallerThatGoesAwayIsNoFault(t *testing.T) {
	s := open(t)
	var log bytes.Buffer
	k := s.core(func(c *Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	opening := []byte("opening")
	digest := sm.Sum(opening)
	s.opening = digest[:]
	cut := &sandbox.Error{Op: "request: read", Kind: sandbox.Unavailable, Object: "body", Detail: "the connection ended before the last frame"}
	own := &sandbox.Error{Op: "vault: write", Kind: sandbox.Unavailable, Object: "ds-1"}
	for name, c := range map[string]struct {
		body    io.Reader
		away    bool // the request's context has ended
		receive func(read error) error
		status  int
		says    string
	}{
		"read":        {iotest.ErrReader(cut), false, func(err error) error { return err }, 499, "level=INFO"},
		"wrapped":     {iotest.ErrReader(cut), false, func(err error) error { return &sandbox.Error{Op: "channel: read", Kind: sandbox.Unavailable, Err: err} }, 499, "kind=unavailable"},
		"cancelled":   {iotest.ErrReader(cut), false, func(error) error { return context.Canceled }, 499, "level=INFO"},
		"context":     {strings.NewReader("x"), true, func(error) error { return context.Canceled }, 499, "kind=unavailable"},
		"own":         {iotest.ErrReader(cut), true, func(error) error { return own }, 503, "level=ERROR"},
		"inside":      {iotest.ErrReader(cut), true, func(error) error { return errors.New("fault") }, 500, "level=ERROR"},
		"nobody left": {strings.NewReader("x"), false, func(error) error { return context.Canceled }, 500, "level=ERROR"},
	} {
		t.Run(name, func(t *testing.T) {
			log.Reset()
			ctx, stop := context.WithCancel(context.Background())
			defer stop()
			s.receive = func(r io.Reader) (PushReport, error) {
				_, err := io.Copy(io.Discard, r)
				if c.away {
					stop()
				}
				return PushReport{}, c.receive(err)
			}
			r := s.request("PUT", "/v1/pushes/r-1/frames", "application/vnd.opdomain.frames", "")
			if err := s.signers[id(sandbox.Unit, sandbox.Officer)].Sign(WithOpening(ctx, opening), r); err != nil {
				t.Fatal(err)
			}
			a := k.Do(ctx, Call{Route: "PUT /v1/pushes/{run}/frames", Method: "PUT", Authority: r.Host, Path: "/v1/pushes/r-1/frames", Body: c.body,
				Fields: Fields{ContentType: r.Header.Get("Content-Type"), ContentDigest: r.Header.Get("Content-Digest"),
					SignatureInput: r.Header.Get("Signature-Input"), Signature: r.Header.Get("Signature")}})
			if a.Status != c.status || !strings.Contains(log.String(), c.says) {
				t.Errorf("%d, want %d; logged %s, want %s", a.Status, c.status, log.String(), c.says)
			}
		})
	}
}
