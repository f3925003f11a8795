package attest

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

func request() Request {
	return Request{Method: "POST", Authority: "Domain.Example:8443", Path: "/v1/questions", Query: "a=1&b=%20", ContentType: "application/json",
		Body: sm.Sum([]byte("{}")), Key: "op-officer", Created: time.Unix(1774971000, 0).UTC(), Expires: time.Unix(1774971060, 0).UTC(), Nonce: "AAECAwQFBgcICQoLDA0ODw"}
}

// The signature base is pinned: another implementation must be able to write it from the document.
func TestRequestVector(t *testing.T) {
	raw, err := os.ReadFile("testdata/request.json")
	if err != nil {
		t.Fatal(err)
	}
	var v struct {
		Base   []string
		Digest string
		Input  string
	}
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	base, err := request().Encode()
	if err != nil || string(base) != strings.Join(v.Base, "\n") {
		t.Errorf("%v\n%s", err, base)
	}
	digest, input, _, err := request().Sign(rand.Reader, newCast(t).domain)
	if err != nil || digest != v.Digest || input != v.Input {
		t.Errorf("%v\n%s\n%s", err, digest, input)
	}
}

func TestRequestRoundTrip(t *testing.T) {
	key := newCast(t).domain
	want := request()
	digest, input, signature, err := want.Sign(rand.Reader, key)
	if err != nil {
		t.Fatal(err)
	}
	got, sig, err := ParseRequest(digest, input, signature)
	if err != nil {
		t.Fatal(err)
	}
	got.Method, got.Authority, got.Path, got.Query, got.ContentType = want.Method, strings.ToLower(want.Authority), want.Path, want.Query, want.ContentType
	base, err := got.Verify(key.Public(), sig, want.Created)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := want.Encode(); err != nil || !bytes.Equal(base, again) {
		t.Error("the base differs")
	}
	for name, change := range map[string]func(*Request){
		"method":       func(q *Request) { q.Method = "PUT" },
		"authority":    func(q *Request) { q.Authority = "other.example" },
		"path":         func(q *Request) { q.Path = "/v1/questions/explain" },
		"query":        func(q *Request) { q.Query = "a=1&b=%21" },
		"content type": func(q *Request) { q.ContentType = "text/plain" },
		"body":         func(q *Request) { q.Body[31] ^= 1 },
		"key":          func(q *Request) { q.Key = "op-reviewer" },
		"created":      func(q *Request) { q.Created = q.Created.Add(-time.Second) },
		"expires":      func(q *Request) { q.Expires = q.Expires.Add(time.Second) },
		"nonce":        func(q *Request) { q.Nonce = strings.Repeat("A", 22) },
		"moved query":  func(q *Request) { q.Path, q.Query = q.Path+"?a=1", "b=%20" },
	} {
		q := got
		change(&q)
		if reflect.DeepEqual(q, got) {
			t.Errorf("%s: nothing was changed", name)
		}
		if _, err := q.Verify(key.Public(), sig, want.Created); !errors.Is(err, sandbox.Unsigned) {
			t.Errorf("%s is not covered: %v", name, err)
		}
	}
	for name, x := range map[string]struct {
		now time.Time
		ok  bool
	}{
		"a minute early":        {want.Created.Add(-MaxSkew), true},
		"more than that":        {want.Created.Add(-MaxSkew - time.Second), false},
		"last instant":          {want.Expires.Add(-time.Nanosecond), true},
		"expired to the second": {want.Expires, false},
	} {
		if _, err := got.Verify(key.Public(), sig, x.now); (err == nil) != x.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A statement of another kind over the same bytes.
	other, err := key.Sign(rand.Reader, ContextVote, base)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := got.Verify(key.Public(), other, want.Created); !errors.Is(err, sandbox.Unsigned) {
		t.Error(err)
	}
}

// One signed request sent again with one thing changed on its way, headers included: whatever it is, it is rejected.
func TestReplayedRequest(t *testing.T) {
	key := newCast(t).domain
	sent := request()
	digest, input, signature, err := sent.Sign(rand.Reader, key)
	if err != nil {
		t.Fatal(err)
	}
	other := sent
	other.Body = sm.Sum([]byte("another body"))
	type wire struct{ method, authority, path, query, contentType, digest, input, signature string }
	good := wire{sent.Method, sent.Authority, sent.Path, sent.Query, sent.ContentType, digest, input, signature}
	receive := func(w wire) error {
		q, sig, err := ParseRequest(w.digest, w.input, w.signature)
		if err != nil {
			return err
		}
		q.Method, q.Authority, q.Path, q.Query, q.ContentType = w.method, w.authority, w.path, w.query, w.contentType
		_, err = q.Verify(key.Public(), sig, sent.Created.Add(time.Second))
		return err
	}
	if err := receive(good); err != nil {
		t.Fatal(err)
	}
	swap := func(field *string, from, to string) { *field = strings.Replace(*field, from, to, 1) }
	for name, change := range map[string]func(*wire){
		"method":       func(w *wire) { w.method = "PUT" },
		"authority":    func(w *wire) { w.authority = "domain.example:8444" },
		"path":         func(w *wire) { w.path += "/" },
		"query":        func(w *wire) { w.query = "a=2&b=%20" },
		"no query":     func(w *wire) { w.query = "" },
		"content type": func(w *wire) { w.contentType = "application/json; charset=utf-8" },
		"body digest":  func(w *wire) { w.digest = other.digest() },
		"key id":       func(w *wire) { swap(&w.input, `keyid="op-officer"`, `keyid="op-reviewer"`) },
		"created":      func(w *wire) { swap(&w.input, "created=1774971000", "created=1774970999") },
		"expires":      func(w *wire) { swap(&w.input, "expires=1774971060", "expires=1774971061") },
		"nonce":        func(w *wire) { swap(&w.input, `nonce="AAEC`, `nonce="BAEC`) },
	} {
		w := good
		change(&w)
		if w == good {
			t.Errorf("%s: nothing was changed", name)
		}
		if err := receive(w); !errors.Is(err, sandbox.Unsigned) || !strings.Contains(err.Error(), "the signature does not verify") {
			t.Errorf("%s is not covered: %v", name, err)
		}
	}
}

func TestRequestForms(t *testing.T) {
	for name, change := range map[string]func(*Request){
		"no method":       func(q *Request) { q.Method = "" },
		"no authority":    func(q *Request) { q.Authority = "" },
		"relative path":   func(q *Request) { q.Path = "v1" },
		"line in path":    func(q *Request) { q.Path = "/v1\n\"@query\": ?" },
		"line in type":    func(q *Request) { q.ContentType = "a\r\nb" },
		"long":            func(q *Request) { q.Query = strings.Repeat("x", maxPart+1) },
		"no key":          func(q *Request) { q.Key = "" },
		"key with quotes": func(q *Request) { q.Key = `a";x="` },
		"short nonce":     func(q *Request) { q.Nonce = "short" },
		"nonce quotes":    func(q *Request) { q.Nonce = strings.Repeat(`"`, 20) },
		"lives too long":  func(q *Request) { q.Expires = q.Created.Add(MaxLifetime + time.Second) },
		"lives not":       func(q *Request) { q.Expires = q.Created },
		"before the time": func(q *Request) { q.Created, q.Expires = time.Unix(-5, 0), time.Unix(5, 0) },
	} {
		q := request()
		change(&q)
		if _, err := q.Encode(); !errors.Is(err, sandbox.Unsigned) {
			t.Errorf("%s: %v", name, err)
		}
	}
	q := request()
	q.Path = ""
	if b, err := q.Encode(); err != nil || !strings.Contains(string(b), "\"@path\": /\n") {
		t.Error(err)
	}
	a, err := NewNonce(rand.Reader)
	b, err2 := NewNonce(rand.Reader)
	if err != nil || err2 != nil || a == b || len(a) != 22 {
		t.Error(a, b, err, err2)
	}
	if _, err := NewNonce(strings.NewReader("short")); !errors.Is(err, sandbox.Unavailable) {
		t.Error(err)
	}
}

func TestParseRequestIsStrict(t *testing.T) {
	d, in, s, err := request().Sign(rand.Reader, newCast(t).domain)
	if err != nil {
		t.Fatal(err)
	}
	for name, x := range map[string][3]string{
		"nothing":            {"", "", ""},
		"no digest":          {"", in, s},
		"another digest":     {strings.Replace(d, "sm3", "sha-256", 1), in, s},
		"two digests":        {d + ", " + d, in, s},
		"unpadded":           {strings.Replace(d, "=:", ":", 2), in, s},
		"fewer components":   {d, strings.Replace(in, `"@query" `, "", 1), s},
		"another algorithm":  {d, strings.Replace(in, "sm2-sm3", "hmac", 1), s},
		"another label":      {d, strings.Replace(in, "opdomain=", "sig1=", 1), s},
		"plus sign":          {d, strings.Replace(in, "created=", "created=+", 1), s},
		"leading zero":       {d, strings.Replace(in, "created=", "created=0", 1), s},
		"a parameter more":   {d, in + `;tag="x"`, s},
		"a parameter less":   {d, strings.Replace(in, `;alg="sm2-sm3"`, "", 1), s},
		"two signatures":     {d, in, s + ", " + s},
		"space":              {d, in, s + " "},
		"not base64":         {d, in, "opdomain=:!:"},
		"more than it holds": {d, in, "opdomain=:" + strings.Repeat("A", 400) + ":"},
	} {
		if _, _, err := ParseRequest(x[0], x[1], x[2]); !errors.Is(err, sandbox.Unsigned) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzRequest(f *testing.F) {
	key := newCast(f).domain
	d, in, s, err := request().Sign(rand.Reader, key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(d, in, s)
	f.Add("", "", "")
	f.Add("sm3=::", "opdomain=;;;;", "opdomain=::")
	f.Add(d, strings.Replace(in, "created=", "created=-", 1), s)
	f.Add(d, strings.Replace(in, ";expires=", `;expires="`, 1), s)
	f.Add(d, in+";", s[:len(s)-1])
	f.Fuzz(func(t *testing.T, d, in, s string) {
		q, sig, err := ParseRequest(d, in, s)
		if err != nil {
			if !errors.Is(err, sandbox.Unsigned) {
				t.Fatal(err)
			}
			return
		}
		if q.digest() != d || requestLabel+"="+q.params() != in {
			t.Fatal("headers in two forms")
		}
		q.Method, q.Authority = "GET", "x"
		_, _ = q.Verify(key.Public(), sig, q.Created)
	})
}
