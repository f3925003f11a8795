package api_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"

	"github.com/opdomain/opdomain/sandbox"
	. "github.com/opdomain/opdomain/sandbox/api"
)

// FuzzSignedHeaders sends any three fields through the Core. Only the ones that were signed, byte for byte, reach the
// service; everything else is an answer, never a panic.
func FuzzSignedHeaders(f *testing.F) {
	s := open(f)
	k := s.core(func(c *Config) { c.Log, c.Limits.IdentityRate = slog.New(slog.DiscardHandler), 1e9 })
	signed := s.call("GET", "/v1/datasets", "", "", id(sandbox.Operator, sandbox.Officer))
	digest, input, signature := signed.Fields.ContentDigest, signed.Fields.SignatureInput, signed.Fields.Signature
	f.Add(input, signature, digest)
	f.Add("", "", "")
	f.Add(input, signature, "")
	f.Add(input, "opdomain=::", digest)
	f.Add(input, "opdomain=:AAAA:", digest)
	f.Add(input, signature+" ", digest)
	f.Add(" "+input, signature, digest)
	f.Add(input+", "+input, signature+", "+signature, digest)
	f.Add(input, strings.TrimSuffix(signature, ":"), strings.ToUpper(digest))
	f.Add(strings.Replace(input, "alg=\"sm2-sm3\"", "alg=\"none\"", 1), signature, digest)
	f.Add(strings.Replace(input, "created=", "created=-", 1), signature, digest)
	f.Add(strings.Replace(input, "created=", "created=0", 1), signature, digest)
	f.Add(strings.Replace(input, "expires=", "expires=9", 1), signature, digest)
	f.Add(strings.Replace(input, "expires=", "expires=99999999999999999999", 1), signature, digest)
	f.Add(strings.Replace(input, "keyid=\"", "keyid=\"\\", 1), signature, digest)
	f.Add(strings.Replace(input, "operator-officer", "agency-officer", 1), signature, digest)
	f.Add(strings.Replace(input, "operator-officer", "../../etc", 1), signature, digest)
	f.Add(strings.Replace(input, "nonce=\"", "nonce=\"\x00", 1), signature, digest)
	f.Add(strings.Replace(input, "\"@method\" ", "", 1), signature, digest)
	f.Add(strings.Repeat(input, 9), signature, digest)
	f.Add(input, signature, "sm3=:"+strings.Repeat("A", 43)+"=:")
	f.Fuzz(func(t *testing.T, input, signature, digest string) {
		s.took()
		in := signed
		in.Fields.SignatureInput, in.Fields.Signature, in.Fields.ContentDigest = input, signature, digest
		a := k.Do(context.Background(), in)
		calls := s.took()
		if in.Fields == signed.Fields {
			if a.Status != 200 && a.Status != 401 { // once, then it is a replay
				t.Errorf("as signed: %d", a.Status)
			}
			return
		}
		for i := range calls {
			if calls[i] == "Domain" { // what an unknown identity is checked against
				calls[i] = ""
			}
		}
		if reached := strings.Join(calls, ""); a.Status != 401 && a.Status != 413 || reached != "" {
			t.Errorf("%d, reached %q", a.Status, reached)
		}
	})
}
