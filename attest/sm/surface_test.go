package sm

import (
	"bytes"
	"crypto/rand"
	"encoding/asn1"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"go/parser"
	"go/token"
	"math/big"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/emmansun/gmsm/sm2"
	tj2 "github.com/tjfoc/gmsm/sm2"
	tj3 "github.com/tjfoc/gmsm/sm3"
	"pgregory.net/rapid"

	"github.com/opdomain/opdomain/sandbox"
)

// TestOnlyTheseAlgorithmsAreLinked (S2, S5, S6, S10, S11): the defects of TLCP, chaining modes, key exchange and PKCS#7 are
// not here because nothing of them is: the package links three packages of one library, and nothing that stores,
// connects or logs.
func TestOnlyTheseAlgorithmsAreLinked(t *testing.T) {
	allowed := []string{"github.com/emmansun/gmsm/sm2", "github.com/emmansun/gmsm/sm3", "github.com/emmansun/gmsm/sm4", "github.com/opdomain/opdomain/sandbox",
		"bytes", "crypto/cipher", "crypto/ecdsa", "crypto/hkdf", "crypto/hmac", "encoding/binary", "encoding/hex", "fmt", "hash", "io", "math/big", "math/bits",
		"crypto/subtle", "errors", "sync", "unsafe", "golang.org/x/sys/cpu"} // lanes and kernels
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	read := 0
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		read++
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range f.Imports {
			if path, _ := strconv.Unquote(i.Path.Value); !slices.Contains(allowed, path) {
				t.Errorf("%s imports %s", name, path)
			}
		}
	}
	if read == 0 {
		t.Error("no file was read")
	}
}

// seal makes an SM2 ciphertext around any pair (x, y) for one who knows the private key: what a forger who guessed the
// product of the private key and a point of small order sends.
func seal(t *testing.T, k *tj2.PrivateKey, x, y *big.Int, msg []byte) []byte {
	t.Helper()
	x2, y2 := k.ScalarMult(x, y, k.D.Bytes())
	xb, yb := x2.FillBytes(make([]byte, 32)), y2.FillBytes(make([]byte, 32))
	pad := Sum(xb, yb, []byte{0, 0, 0, 1})
	text := bytes.Clone(msg)
	for i := range text {
		text[i] ^= pad[i]
	}
	check := Sum(xb, msg, yb)
	b, err := asn1.Marshal(struct {
		X, Y *big.Int
		Hash []byte
		Text []byte
	}{x, y, check[:], text})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestSmallOrderPointsGetNoAnswer (S1): a point off the curve with a right hash and text, which the second library opens.
func TestSmallOrderPointsGetNoAnswer(t *testing.T) {
	_, d := keypair(t)
	k := second(d.Bytes(), d.Public().Bytes())
	msg := []byte("sixteen byte key")
	on := sm2.P256().Params()
	if out, err := d.Open(seal(t, k, on.Gx, on.Gy, msg)); err != nil || !bytes.Equal(out, msg) {
		t.Fatalf("the forger's arithmetic is wrong: %v", err)
	}
	off := new(big.Int).Add(on.Gy, big.NewInt(1))
	ct := seal(t, k, on.Gx, off, msg)
	if out, err := tj2.DecryptAsn1(k, ct); err != nil || !bytes.Equal(out, msg) {
		t.Errorf("the second library has stopped answering for points off the curve: %v", err)
	}
	out, err := d.Open(ct)
	is(t, err, sandbox.Tampered, "off the curve")
	if out != nil || err.Error() != notOpened().Error() {
		t.Error("an answer for a point off the curve")
	}
}

// TestWhereTheSecondOpinionIsWrong (S7, S8, S9) keeps the reasons why it is only the second: when one of these stops
// failing, the rule that follows from it may go.
func TestWhereTheSecondOpinionIsWrong(t *testing.T) {
	s, d := keypair(t)
	h := tj3.New()
	_, _ = h.Write([]byte("abc"))
	want := Sum([]byte("abc"))
	if got := h.Sum([]byte("p")); bytes.HasSuffix(got, want[:]) {
		t.Error("S8: its running hash reads right into a prefix")
	}
	msg := []byte("m")
	sig, err := s.Sign(rand.Reader, "x", msg)
	if err != nil {
		t.Fatal(err)
	}
	k := second(s.Bytes(), s.Public().Bytes())
	if !k.PublicKey.Verify(Frame([]byte("x"), msg), append(bytes.Clone(sig), 0)) {
		t.Error("S9: it refuses bytes behind a signature")
	}
	is(t, s.Public().Verify("x", msg, append(bytes.Clone(sig), 0)), sandbox.Tampered, "bytes behind a signature")
	ct, err := d.Public().Seal(rand.Reader, []byte("sixteen byte key"))
	if err != nil {
		t.Fatal(err)
	}
	ct[len(ct)-1] ^= 1
	if out, err := tj2.DecryptAsn1(second(d.Bytes(), d.Public().Bytes()), ct); err == nil || out == nil {
		t.Error("S7: it gives no plaintext beside its error")
	}
	if out, err := d.Open(ct); err == nil || out != nil {
		t.Error("plaintext beside an error")
	}
}

// TestKeyBounds: the ends of the ranges, inside and out, and both coordinates at and above p.
func TestKeyBounds(t *testing.T) {
	c := sm2.P256().Params()
	for name, d := range map[string]*big.Int{"1": big.NewInt(1), "n-2": new(big.Int).Sub(c.N, big.NewInt(2))} {
		b := d.FillBytes(make([]byte, 32))
		s, err := ParseSigningKey(b)
		if err != nil || !bytes.Equal(s.Bytes(), b) {
			t.Fatalf("%s: %v", name, err)
		}
		sig, err := s.Sign(rand.Reader, "x", nil)
		if err != nil || s.Public().Verify("x", nil, sig) != nil {
			t.Errorf("%s does not sign: %v", name, err)
		}
		if e, err := ParseDecryptKey(b); err != nil || !bytes.Equal(e.Bytes(), b) || !bytes.Equal(e.Public().Bytes(), s.Public().Bytes()) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := ParseSigningKey(bytes.Repeat([]byte{0xff}, 32))
	is(t, err, sandbox.Invalid, "all ones")
	// (0, √b) lies on the curve, so x = p is the same point in a second encoding.
	y := new(big.Int).ModSqrt(c.B, c.P)
	encode := func(x, y *big.Int) []byte {
		return append(append([]byte{4}, x.FillBytes(make([]byte, 32))...), y.FillBytes(make([]byte, 32))...)
	}
	if y != nil {
		if _, err := ParseVerifyKey(encode(new(big.Int), y)); err != nil {
			t.Errorf("x = 0: %v", err)
		}
		_, err = ParseVerifyKey(encode(c.P, y))
		is(t, err, sandbox.Invalid, "x = p")
	}
	_, err = ParseVerifyKey(encode(c.Gx, c.P))
	is(t, err, sandbox.Invalid, "y = p")
	_, err = ParseEncryptKey(encode(c.P, c.P))
	is(t, err, sandbox.Invalid, "both p")
}

// TestHandedOutBytesAreCopies: writing into what Bytes gave, or into what a key was parsed from, changes no key.
func TestHandedOutBytesAreCopies(t *testing.T) {
	s, d := keypair(t)
	raw := s.Public().Bytes()
	v, err := ParseVerifyKey(raw)
	if err != nil {
		t.Fatal(err)
	}
	sealed := d.Public().Bytes()
	e, err := ParseEncryptKey(sealed)
	if err != nil {
		t.Fatal(err)
	}
	was, were := v.Fingerprint(), e.Fingerprint()
	for _, b := range [][]byte{raw, sealed, v.Bytes(), e.Bytes(), s.Bytes(), d.Bytes()} {
		clear(b)
	}
	if v.Fingerprint() != was || e.Fingerprint() != were || bytes.Equal(s.Bytes(), make([]byte, 32)) || bytes.Equal(d.Bytes(), make([]byte, 32)) {
		t.Error("a key shares its bytes")
	}
	if s.Public().Fingerprint() == d.Public().Fingerprint() {
		t.Error("two keys have one fingerprint")
	}
}

// TestLaws over random messages, contexts and cuts.
func TestLaws(t *testing.T) {
	s, d := keypair(t)
	rapid.Check(t, func(rt *rapid.T) {
		msg := rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(rt, "msg")
		context := rapid.StringN(0, 20, 60).Draw(rt, "context")
		cut := rapid.IntRange(0, len(msg)).Draw(rt, "cut")
		if Sum(msg) != Sum(msg[:cut], msg[cut:]) || HMAC([]byte("k"), msg) != HMAC([]byte("k"), msg[:cut], msg[cut:]) {
			rt.Fatal("a digest depends on how the bytes are cut")
		}
		if cut > 0 && bytes.Equal(Frame(msg), Frame(msg[:cut], msg[cut:])) {
			rt.Fatal("a frame does not depend on how the bytes are cut")
		}
		sig, err := s.Sign(rand.Reader, context, msg)
		if err != nil {
			rt.Fatal(err)
		}
		if err := s.Public().Verify(context, msg, sig); err != nil {
			rt.Fatal(err)
		}
		// What the context gives up, the message may not gain.
		if s.Public().Verify(context+"x", msg, sig) == nil || s.Public().Verify("", append([]byte(context), msg...), sig) == nil && context != "" {
			rt.Fatal("a signature passes for another kind of statement")
		}
		box, err := d.Public().SealMessage(rand.Reader, context, msg)
		if err != nil {
			rt.Fatal(err)
		}
		if out, err := d.OpenMessage(context, box); err != nil || !bytes.Equal(out, msg) {
			rt.Fatal(err)
		}
		at := rapid.IntRange(0, len(box)-1).Draw(rt, "at")
		if out, err := d.OpenMessage(context, box[:at]); err == nil || out != nil {
			rt.Fatal("a cut box opens")
		}
		bad := bytes.Clone(box)
		bad[at] ^= byte(rapid.IntRange(1, 255).Draw(rt, "flip"))
		if out, err := d.OpenMessage(context, bad); err == nil || out != nil || err.Error() != notOpened().Error() {
			rt.Fatal("a changed box opens, or says why it does not")
		}
		if len(msg) >= MinSealed {
			ct, err := d.Public().Seal(rand.Reader, msg)
			if err != nil {
				rt.Fatal(err)
			}
			if out, err := d.Open(ct); err != nil || !bytes.Equal(out, msg) {
				rt.Fatal(err)
			}
		}
	})
}

// TestPinnedForms: bytes written down once, so that another implementation can be held to them and old ones stay readable.
func TestPinnedForms(t *testing.T) {
	v := vectors[struct {
		Frame []struct {
			Parts []string
			Hex   string
		}
		Key, Context, Message, Fingerprint, Signature, Box string
	}](t, "forms.json")
	for _, c := range v.Frame {
		var parts [][]byte
		for _, p := range c.Parts {
			parts = append(parts, []byte(p))
		}
		if got := hex.EncodeToString(Frame(parts...)); got != c.Hex {
			t.Errorf("%d parts: %s", len(parts), got)
		}
	}
	s, err := ParseSigningKey(unhex(t, v.Key))
	if err != nil {
		t.Fatal(err)
	}
	if s.Public().Fingerprint() != v.Fingerprint {
		t.Errorf("fingerprint %s", s.Public().Fingerprint())
	}
	if err := s.Public().Verify(v.Context, []byte(v.Message), unhex(t, v.Signature)); err != nil {
		t.Error(err)
	}
	d, err := ParseDecryptKey(unhex(t, v.Key))
	if err != nil {
		t.Fatal(err)
	}
	if out, err := d.OpenMessage(v.Context, unhex(t, v.Box)); err != nil || string(out) != v.Message {
		t.Errorf("box: %v", err)
	}
}

// TestWithoutRandomness: no key, no seal, no signature, and a kind that fails closed.
func TestWithoutRandomness(t *testing.T) {
	s, d := keypair(t)
	none := func() *bytes.Reader { return bytes.NewReader(make([]byte, 0)) }
	_, err := NewSigningKey(none())
	is(t, err, sandbox.Unavailable, "signing key")
	_, err = NewDecryptKey(bytes.NewReader(make([]byte, 31)))
	is(t, err, sandbox.Unavailable, "decryption key")
	_, err = NewSigningKey(bytes.NewReader(bytes.Repeat([]byte{0xff}, 32*200)))
	is(t, err, sandbox.Unavailable, "a source that never gives a scalar")
	_, err = d.Public().SealMessage(none(), "x", nil)
	is(t, err, sandbox.Unavailable, "message")
	if out, err := d.Public().Seal(none(), make([]byte, KeySize)); err == nil || out != nil {
		t.Error("sealed without randomness")
	}
	if sig, err := s.Sign(none(), "x", nil); err == nil || sig != nil {
		t.Error("signed without randomness")
	}
	b := bytes.Repeat([]byte{7}, 32)
	k, err := NewSigningKey(bytes.NewReader(b))
	if err != nil || !bytes.Equal(k.Bytes(), b) {
		t.Errorf("a key is not a function of its randomness: %v", err)
	}
}

// TestPrivateKeysPrintRedactedUnderEveryVerb, by pointer and by value, alone and inside others.
func TestPrivateKeysPrintRedactedUnderEveryVerb(t *testing.T) {
	s, d := keypair(t)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d", "%x", "%X", "%q", "%o"} {
		for _, x := range []any{s, *s, d, *d, []any{s, d}, struct{ K *SigningKey }{s}, map[string]any{"k": *d}} {
			text := fmt.Sprintf(verb, x)
			if !strings.Contains(text, "redacted") {
				t.Errorf("%s of %T is not redacted", verb, x)
			}
			for _, secret := range []*big.Int{s.key.D, d.key.D} {
				if strings.Contains(text, secret.String()) || strings.Contains(strings.ToLower(text), secret.Text(16)) {
					t.Errorf("%s of %T shows the key", verb, x)
				}
			}
		}
	}
	if b, err := json.Marshal([]any{s, d}); err != nil || string(b) != "[{},{}]" {
		t.Error("a private key has JSON")
	}
}

func TestMessagesAreBounded(t *testing.T) {
	_, d := keypair(t)
	_, err := d.Public().SealMessage(rand.Reader, "x", make([]byte, MaxMessage+1))
	is(t, err, sandbox.TooLarge, "over the bound")
	// Authentic and one byte over: only a sender that breaks the format makes it.
	key := make([]byte, KeySize)
	wrapped, err := d.Public().Seal(rand.Reader, key)
	if err != nil {
		t.Fatal(err)
	}
	aead, err := NewGCM(key)
	if err != nil {
		t.Fatal(err)
	}
	box := append([]byte{0, byte(len(wrapped))}, wrapped...)
	box = aead.Seal(box, make([]byte, 12), make([]byte, MaxMessage+1), Frame([]byte("x"), wrapped))
	_, err = d.OpenMessage("x", box)
	is(t, err, sandbox.Tampered, "over the bound")
}

// TestOneCiphertextForm: the raw forms, which the library would take, and other wrappings are refused (no guessing).
func TestOneCiphertextForm(t *testing.T) {
	v := vectors[struct {
		Key     struct{ D string }
		Encrypt struct {
			Raw  string `json:"raw_c1c3c2"`
			Old  string `json:"raw_c1c2c3_old"`
			ASN1 string `json:"asn1_gmt0009"`
		}
	}](t, "sm2.json")
	d, err := ParseDecryptKey(unhex(t, v.Key.D))
	if err != nil {
		t.Fatal(err)
	}
	good := unhex(t, v.Encrypt.ASN1)
	if _, err := d.Open(good); err != nil {
		t.Fatal(err)
	}
	raw := unhex(t, v.Encrypt.Raw)
	compressed := append([]byte{2 + raw[64]&1}, append(bytes.Clone(raw[1:33]), raw[65:]...)...)
	for name, b := range map[string][]byte{"C1C3C2": raw, "C1C2C3": unhex(t, v.Encrypt.Old), "compressed": compressed,
		"long length": append([]byte{0x30, 0x81}, good[1:]...), "set": append([]byte{0x31}, good[1:]...)} {
		_, err := d.Open(b)
		is(t, err, sandbox.Tampered, name)
	}
}

// TestStrictSignature holds the encoding check alone: the library's is as strict today, and ours must not lean on it.
func TestStrictSignature(t *testing.T) {
	for text, want := range map[string]bool{
		"3006020101020101":       true,
		"300702020080020101":     true,
		"30080202008002020080":   true,
		"3006020100020101":       false, // zero
		"3006020101020100":       false,
		"3006020180020101":       false, // negative
		"300702020001020101":     false, // padded
		"30070201010202007f":     false,
		"300602010102010100":     false, // behind the sequence
		"3009020101020101020101": false, // inside it
		"30080201010201010500":   false,
		"30050201010201":         false, // cut
		"3005020101020101":       false, // wrong length
		"3007020101020101":       false,
		"308106020101020101":     false, // long form
		"3080020101020101":       false,
		"3106020101020101":       false, // other tags
		"3006030101020101":       false,
		"30060200010201":         false,
		"":                       false,
		"30":                     false,
	} {
		if strictSignature(unhex(t, text)) != want {
			t.Errorf("%s: not %v", text, want)
		}
	}
	long := append([]byte{2, 34, 1}, make([]byte, 33)...)
	long = append(append([]byte{0x30, byte(len(long) + 3)}, long...), 2, 1, 1)
	if strictSignature(long) {
		t.Error("34 bytes of r")
	}
}

func FuzzParseKeys(f *testing.F) {
	s, _ := keypair(f)
	f.Add(s.Bytes())
	f.Add(s.Public().Bytes())
	f.Add(make([]byte, 32))
	f.Fuzz(func(t *testing.T, b []byte) {
		if k, err := ParseSigningKey(b); err == nil && !bytes.Equal(k.Bytes(), b) {
			t.Error("a signing key has two encodings")
		}
		if k, err := ParseDecryptKey(b); err == nil && !bytes.Equal(k.Bytes(), b) {
			t.Error("a decryption key has two encodings")
		}
		k, err := ParseEncryptKey(b)
		if err != nil {
			return
		}
		if !bytes.Equal(k.Bytes(), b) {
			t.Error("an encryption key has two encodings")
		}
		if _, err := k.Seal(rand.Reader, make([]byte, KeySize)); err != nil {
			t.Error("a parsed key does not seal")
		}
	})
}
