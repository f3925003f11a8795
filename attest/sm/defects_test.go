package sm

import (
	"bytes"
	"crypto/rand"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"testing"

	tj2 "github.com/tjfoc/gmsm/sm2"
	tj3 "github.com/tjfoc/gmsm/sm3"
	tj4 "github.com/tjfoc/gmsm/sm4"

	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/sm4"

	"github.com/opdomain/opdomain/sandbox"
)

func keypair(t testing.TB) (*SigningKey, *DecryptKey) {
	t.Helper()
	s, err := NewSigningKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	d, err := NewDecryptKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return s, d
}

// second gives the same private key in the second library.
func second(scalar, point []byte) *tj2.PrivateKey {
	k := &tj2.PrivateKey{D: new(big.Int).SetBytes(scalar)}
	k.Curve = tj2.P256Sm2()
	k.X, k.Y = new(big.Int).SetBytes(point[1:33]), new(big.Int).SetBytes(point[33:])
	return k
}

// TestSecondOpinion: two independent libraries agree on hashes, blocks, signatures and ciphertexts, both ways.
func TestSecondOpinion(t *testing.T) {
	msg := make([]byte, 3000)
	if _, err := rand.Read(msg); err != nil {
		t.Fatal(err)
	}
	for n := range len(msg) + 1 {
		if d := Sum(msg[:n]); !bytes.Equal(d[:], tj3.Sm3Sum(msg[:n])) {
			t.Fatalf("SM3 differs at %d bytes", n)
		}
	}
	a, err := sm4.NewCipher(msg[:16])
	if err != nil {
		t.Fatal(err)
	}
	b, err := tj4.NewCipher(msg[:16])
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+16 <= len(msg); i += 16 {
		x, y := make([]byte, 16), make([]byte, 16)
		a.Encrypt(x, msg[i:i+16])
		b.Encrypt(y, msg[i:i+16])
		if !bytes.Equal(x, y) {
			t.Fatalf("SM4 differs at block %d", i/16)
		}
	}
	for i := range 20 {
		s, d := keypair(t)
		framed := Frame([]byte("test/v1"), msg[:100+i])
		sig, err := s.Sign(rand.Reader, "test/v1", msg[:100+i])
		if err != nil {
			t.Fatal(err)
		}
		other := second(s.Bytes(), s.Public().Bytes())
		if !other.PublicKey.Verify(framed, sig) {
			t.Fatal("the second library refuses our signature")
		}
		sig, err = other.Sign(rand.Reader, framed, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Public().Verify("test/v1", msg[:100+i], sig); err != nil {
			t.Fatalf("we refuse the second library's signature: %v", err)
		}
		ct, err := d.Public().Seal(rand.Reader, msg[:16+i])
		if err != nil {
			t.Fatal(err)
		}
		other = second(d.Bytes(), d.Public().Bytes())
		if plain, err := tj2.DecryptAsn1(other, ct); err != nil || !bytes.Equal(plain, msg[:16+i]) {
			t.Fatalf("the second library does not open our ciphertext: %v", err)
		}
		if ct, err = tj2.EncryptAsn1(&other.PublicKey, msg[:16+i], rand.Reader); err != nil {
			t.Fatal(err)
		}
		if plain, err := d.Open(ct); err != nil || !bytes.Equal(plain, msg[:16+i]) {
			t.Fatalf("we do not open the second library's ciphertext: %v", err)
		}
	}
}

func is(t *testing.T, err error, k sandbox.Kind, what string) {
	t.Helper()
	if !errors.Is(err, k) {
		t.Errorf("%s: %v is not %s", what, err, k)
	}
}

// TestCiphertextPointIsOnTheCurve (S1, S2): a decrypting key that answers for points off its curve gives itself away.
func TestCiphertextPointIsOnTheCurve(t *testing.T) {
	_, d := keypair(t)
	ct, err := d.Public().Seal(rand.Reader, []byte("sixteen byte key"))
	if err != nil {
		t.Fatal(err)
	}
	type box struct {
		X, Y *big.Int
		Hash []byte
		Text []byte
	}
	var good box
	if _, err := asn1.Unmarshal(ct, &good); err != nil {
		t.Fatal(err)
	}
	p := sm2.P256().Params().P
	for name, change := range map[string]func(b *box){
		"off the curve": func(b *box) { b.Y = new(big.Int).Add(b.Y, big.NewInt(1)) },
		"order two":     func(b *box) { b.Y = big.NewInt(0) },
		"infinity":      func(b *box) { b.X, b.Y = big.NewInt(0), big.NewInt(0) },
		"x not below p": func(b *box) { b.X = new(big.Int).Add(b.X, p) },
		"y not below p": func(b *box) { b.Y = new(big.Int).Add(b.Y, p) },
		"negative x":    func(b *box) { b.X = new(big.Int).Neg(b.X) },
		"another hash":  func(b *box) { b.Hash = bytes.Repeat([]byte{1}, 32) },
		"short hash":    func(b *box) { b.Hash = b.Hash[:31] },
		"changed text":  func(b *box) { b.Text[0] ^= 1 },
		"no text":       func(b *box) { b.Text = nil },
	} {
		b := box{new(big.Int).Set(good.X), new(big.Int).Set(good.Y), bytes.Clone(good.Hash), bytes.Clone(good.Text)}
		change(&b)
		bad, err := asn1.Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		_, err = d.Open(bad)
		is(t, err, sandbox.Tampered, name)
		if err != nil && err.Error() != notOpened().Error() {
			t.Errorf("%s has an error of its own: %v", name, err)
		}
	}
	for n := range ct {
		if _, err := d.Open(ct[:n]); err == nil {
			t.Errorf("%d bytes of a ciphertext open", n)
		}
	}
	if _, err := d.Open(append(bytes.Clone(ct), 0)); err == nil {
		t.Error("bytes behind a ciphertext are taken")
	}
}

// TestPublicKeysAreOnTheCurve (S9).
func TestPublicKeysAreOnTheCurve(t *testing.T) {
	s, _ := keypair(t)
	good := s.Public().Bytes()
	off := bytes.Clone(good)
	off[64] ^= 1
	compressed := append([]byte{2 + good[64]&1}, good[1:33]...)
	for name, b := range map[string][]byte{"off the curve": off, "infinity": {0}, "zeros": make([]byte, 65), "04 zeros": append([]byte{4}, make([]byte, 64)...),
		"short": good[:64], "long": append(bytes.Clone(good), 0), "compressed": compressed, "hybrid": append([]byte{6}, good[1:]...), "empty": nil} {
		_, err := ParseVerifyKey(b)
		is(t, err, sandbox.Invalid, name)
		_, err = ParseEncryptKey(b)
		is(t, err, sandbox.Invalid, name)
	}
	if k, err := ParseVerifyKey(good); err != nil || k.Fingerprint() != s.Public().Fingerprint() || len(k.Fingerprint()) != 32 {
		t.Errorf("a good key: %v", err)
	}
}

func TestPrivateScalars(t *testing.T) {
	n := sm2.P256().Params().N
	one := big.NewInt(1)
	for name, d := range map[string]*big.Int{"zero": new(big.Int), "n-1": new(big.Int).Sub(n, one), "n": n, "n+1": new(big.Int).Add(n, one)} {
		_, err := ParseSigningKey(d.FillBytes(make([]byte, 32)))
		is(t, err, sandbox.Invalid, name)
		_, err = ParseDecryptKey(d.FillBytes(make([]byte, 32)))
		is(t, err, sandbox.Invalid, name)
	}
	for _, size := range []int{0, 31, 33} {
		_, err := ParseSigningKey(bytes.Repeat([]byte{1}, size))
		is(t, err, sandbox.Invalid, fmt.Sprint(size, " bytes"))
	}
}

// TestSignatureEncodingIsStrict (S9): one signature has one encoding and nothing rides behind it.
func TestSignatureEncodingIsStrict(t *testing.T) {
	s, _ := keypair(t)
	msg := []byte("a statement")
	for range 50 {
		sig, err := s.Sign(rand.Reader, "test/v1", msg)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Public().Verify("test/v1", msg, sig); err != nil {
			t.Fatal(err)
		}
		rlen := int(sig[3])
		padded := append([]byte{0x30, sig[1] + 1, 2, sig[3] + 1, 0}, sig[4:]...)
		long := append([]byte{0x30, 0x81}, sig[1:]...)
		negative := bytes.Clone(sig)
		negative[4] |= 0x80
		for name, b := range map[string][]byte{"trailing byte": append(bytes.Clone(sig), 0), "padded r": padded, "long form": long, "short": sig[:len(sig)-1], "empty": nil,
			"other tag": append([]byte{0x31}, sig[1:]...), "only r": sig[:4+rlen], "negative": negative} {
			if bytes.Equal(b, sig) {
				continue // r has its sign byte already
			}
			if err := s.Public().Verify("test/v1", msg, b); err == nil {
				t.Fatalf("%s verifies", name)
			}
		}
		is(t, s.Public().Verify("test/v2", msg, sig), sandbox.Tampered, "another context")
		is(t, s.Public().Verify("test/v1", append(msg, 1), sig), sandbox.Tampered, "another message")
	}
	n := sm2.P256().Params().N
	for _, pair := range [][2]*big.Int{{new(big.Int), big.NewInt(1)}, {big.NewInt(1), new(big.Int)}, {n, big.NewInt(1)}, {big.NewInt(1), n}} {
		b, err := asn1.Marshal(struct{ R, S *big.Int }{pair[0], pair[1]})
		if err != nil {
			t.Fatal(err)
		}
		is(t, s.Public().Verify("test/v1", msg, b), sandbox.Tampered, "r or s out of range")
	}
}

// TestFrameIsUnambiguous: no two lists of parts encode alike, so context and message cannot be shifted into each other.
func TestFrameIsUnambiguous(t *testing.T) {
	seen := map[string]bool{}
	for _, parts := range [][][]byte{nil, {nil}, {nil, nil}, {[]byte("a"), []byte("bc")}, {[]byte("ab"), []byte("c")}, {[]byte("abc")}, {[]byte("abc"), nil}, {nil, []byte("abc")}} {
		f := string(Frame(parts...))
		if seen[f] {
			t.Errorf("%d parts encode like others", len(parts))
		}
		seen[f] = true
	}
}

// TestGCMNonces (S3): nonces that differ in any byte give different key streams.
func TestGCMNonces(t *testing.T) {
	a, err := NewGCM(make([]byte, KeySize))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	zeros := make([]byte, 64)
	for i := range 1024 {
		nonce := make([]byte, 12)
		nonce[10], nonce[11] = byte(i>>8), byte(i)
		ct := a.Seal(nil, nonce, zeros, nil)
		if seen[string(ct[:64])] {
			t.Fatalf("nonce %04x repeats a key stream", i)
		}
		seen[string(ct[:64])] = true
		for _, at := range []int{0, 63, 64, 79} {
			bad := bytes.Clone(ct)
			bad[at] ^= 1
			if _, err := a.Open(nil, nonce, bad, nil); err == nil {
				t.Fatalf("a changed byte %d opens", at)
			}
		}
	}
	for n := range 40 { // lengths that are no multiple of a block
		ct := a.Seal(nil, zeros[:12], zeros[:n], []byte("ad"))
		if out, err := a.Open(nil, zeros[:12], ct, []byte("ad")); err != nil || len(out) != n {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	for _, n := range []int{0, 15, 17, 32} {
		_, err := NewGCM(make([]byte, n))
		is(t, err, sandbox.Invalid, "key length")
	}
}

// TestGCMIsConcurrent (S4): one AEAD serves many goroutines; meant for -race.
func TestGCMIsConcurrent(t *testing.T) {
	a, err := NewGCM(bytes.Repeat([]byte{7}, KeySize))
	if err != nil {
		t.Fatal(err)
	}
	want := map[int][]byte{}
	nonce := func(i int) []byte { return append(make([]byte, 10), byte(i>>8), byte(i)) }
	for i := range 200 {
		want[i] = a.Seal(nil, nonce(i), bytes.Repeat([]byte{byte(i)}, i*7), nil)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 200 {
				if !bytes.Equal(a.Seal(nil, nonce(i), bytes.Repeat([]byte{byte(i)}, i*7), nil), want[i]) {
					t.Error("a concurrent seal differs")
				}
			}
		})
	}
	wg.Wait()
}

// TestShortAndEmptyInputs (S7): refused without a panic, and nothing comes back beside an error.
func TestShortAndEmptyInputs(t *testing.T) {
	_, d := keypair(t)
	for n := range 130 {
		for _, fill := range []byte{0, 0x30, 0xff} {
			if out, err := d.Open(bytes.Repeat([]byte{fill}, n)); err == nil || out != nil {
				t.Fatalf("%d bytes of %02x open", n, fill)
			}
			if out, err := d.OpenMessage("x", bytes.Repeat([]byte{fill}, n)); err == nil || out != nil {
				t.Fatalf("%d bytes of %02x open as a message", n, fill)
			}
		}
	}
	// S7, and the shorter the secret the likelier our own library seals it to nobody.
	for n := range MinSealed {
		_, err := d.Public().Seal(rand.Reader, make([]byte, n))
		is(t, err, sandbox.Invalid, fmt.Sprint("a secret of ", n, " bytes"))
	}
	_, err := d.Public().Seal(rand.Reader, make([]byte, MaxSealed+1))
	is(t, err, sandbox.TooLarge, "long secret")
}

func TestMessages(t *testing.T) {
	_, d := keypair(t)
	_, other := keypair(t)
	for _, n := range []int{0, 1, 15, 16, 1000, 70_000} {
		msg := bytes.Repeat([]byte{9}, n)
		box, err := d.Public().SealMessage(rand.Reader, "a/v1", msg)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := d.OpenMessage("a/v1", box); err != nil || !bytes.Equal(got, msg) {
			t.Fatalf("%d bytes: %v", n, err)
		}
		_, err = d.OpenMessage("b/v1", box)
		is(t, err, sandbox.Tampered, "another context")
		_, err = other.OpenMessage("a/v1", box)
		is(t, err, sandbox.Tampered, "another key")
		for _, at := range []int{0, 1, 5, 60, len(box) - 1} {
			bad := bytes.Clone(box)
			bad[at] ^= 1
			_, err = d.OpenMessage("a/v1", bad)
			is(t, err, sandbox.Tampered, fmt.Sprint("byte ", at))
		}
	}
}

func TestPrivateKeysPrintRedacted(t *testing.T) {
	s, d := keypair(t)
	for _, v := range []any{s, d, *s.Public()} {
		for _, f := range []string{"%v", "%+v", "%#v", "%s"} {
			text := fmt.Sprintf(f, v)
			for _, secret := range [][]byte{s.Bytes(), d.Bytes()} {
				if strings.Contains(text, fmt.Sprintf("%x", secret)) || strings.Contains(text, new(big.Int).SetBytes(secret).String()) {
					t.Errorf("%s of %T shows the key", f, v)
				}
			}
		}
	}
}

func FuzzOpen(f *testing.F) {
	_, d := keypair(f)
	ct, err := d.Public().Seal(rand.Reader, []byte("a seed of some bytes"))
	if err != nil {
		f.Fatal(err)
	}
	box, err := d.Public().SealMessage(rand.Reader, "x", []byte("seed"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(ct)
	f.Add(box)
	f.Add([]byte{0x30, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		if out, err := d.Open(b); err != nil && out != nil {
			t.Error("plaintext beside an error")
		}
		if out, err := d.OpenMessage("x", b); err != nil && out != nil {
			t.Error("plaintext beside an error")
		}
	})
}

func FuzzVerify(f *testing.F) {
	s, _ := keypair(f)
	sig, err := s.Sign(rand.Reader, "x", []byte("m"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sig, s.Public().Bytes())
	f.Add([]byte{}, []byte{4})
	f.Fuzz(func(t *testing.T, sig, key []byte) {
		k, err := ParseVerifyKey(key)
		if err != nil {
			return
		}
		if !bytes.Equal(k.Bytes(), key) {
			t.Error("a key has two encodings")
		}
		_ = k.Verify("x", []byte("m"), sig)
	})
}
