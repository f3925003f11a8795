package tlcp

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"encoding/asn1"
	"io"
	"math/big"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emmansun/gmsm/sm2"

	"github.com/opdomain/opdomain/attest/sm"
)

// tap keeps what is written to a connection.
type tap struct {
	net.Conn
	mu  sync.Mutex
	out []byte
}

func (c *tap) Write(b []byte) (int, error) {
	c.mu.Lock()
	c.out = append(c.out, b...)
	c.mu.Unlock()
	return c.Conn.Write(b)
}

// flights gives what both sides of a good handshake write.
func flights(t testing.TB, client, server *Config) (fromClient, fromServer []byte) {
	t.Helper()
	a, b := link(t)
	ta, tb := &tap{Conn: a}, &tap{Conn: b}
	done := make(chan error, 1)
	go func() {
		_, err := Server(tb, server)
		done <- err
	}()
	if _, err := Client(ta, client); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return ta.out, tb.out
}

// settled fails if more goroutines are left than before.
func settled(t testing.TB, before int) {
	t.Helper()
	for range 3000 {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%d goroutines, %d before", runtime.NumGoroutine(), before)
}

// say writes b to address, ends the writing side and reads until the other side is done.
func say(t testing.TB, address string, b []byte) []byte {
	t.Helper()
	c := must[net.Conn](t)(net.Dial("tcp", address))
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	_, _ = c.Write(b)
	_ = c.(*net.TCPConn).CloseWrite()
	out, err := io.ReadAll(c)
	if ne, ok := err.(net.Error); ok && ne.Timeout() {
		t.Fatal("the server holds on to the connection")
	}
	return out
}

// serving runs a Listener that echoes; refused counts failed handshakes.
func serving(t testing.TB, c *Config) (l *Listener, refused *atomic.Int64) {
	t.Helper()
	refused = new(atomic.Int64)
	c.Refused = func(_ net.Addr, err error) {
		if err == nil {
			t.Error("refused without an error")
		}
		refused.Add(1)
	}
	l = must[*Listener](t)(Listen(must[net.Listener](t)(net.Listen("tcp", "127.0.0.1:0")), c))
	done := make(chan struct{})
	go func() {
		defer close(done)
		var wg sync.WaitGroup
		defer wg.Wait()
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { _, _ = io.Copy(conn, conn); _ = conn.Close() })
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return l, refused
}

// alive says whether the server still serves.
func alive(t testing.TB, l *Listener, client *Config) {
	t.Helper()
	c := must[*Conn](t)(Dial(t.Context(), l.Addr().String(), client))
	echo(t, c, c, 1000)
	_ = c.Close()
}

func TestTruncatedAtEveryByte(t *testing.T) {
	d := newDomain(t, "futian")
	client, server := d.side("unit-1"), d.side("core")
	before := runtime.NumGoroutine()
	good, _ := flights(t, client, server)
	server.Handshakes = 2 // a leaked slot would stop the test
	l, refused := serving(t, server)
	if len(good) < 1000 {
		t.Fatal("no whole flight")
	}
	for n := range len(good) + 1 { // the whole is a replay
		say(t, l.Addr().String(), good[:n])
	}
	alive(t, l, client)
	_ = l.Close()
	if n := refused.Load(); n != int64(len(good)+1) {
		t.Errorf("%d refused of %d", n, len(good)+1)
	}
	settled(t, before)
}

// cut ends a connection after n bytes written: both sides are live, so what came before the cut is right.
type cut struct {
	net.Conn
	left int
}

func (c *cut) Write(b []byte) (int, error) {
	if len(b) > c.left {
		_, _ = c.Conn.Write(b[:c.left])
		c.left = 0
		_ = c.Conn.Close()
		return 0, net.ErrClosed
	}
	c.left -= len(b)
	return c.Conn.Write(b)
}

func TestCutWhileLive(t *testing.T) {
	d := newDomain(t, "futian")
	client, server := d.side("unit-1"), d.side("core")
	before := runtime.NumGoroutine()
	fromClient, fromServer := flights(t, client, server)
	for _, byServer := range []bool{false, true} {
		whole := len(fromClient)
		if byServer {
			whole = len(fromServer)
		}
		whole -= 8 // signatures vary in length
		var at []int
		for n := 0; n < whole; n += 37 {
			at = append(at, n)
		}
		for n := max(0, whole-90); n < whole; n += 7 { // Finished
			at = append(at, n)
		}
		for _, n := range at {
			a, b := link(t)
			var cc, sc net.Conn = a, b
			if byServer {
				sc = &cut{Conn: b, left: n}
			} else {
				cc = &cut{Conn: a, left: n}
			}
			done := make(chan error, 1)
			go func() {
				_, err := Server(sc, server)
				done <- err
			}()
			_, cerr := Client(cc, client)
			serr := <-done
			if !isFailed(cerr) || !isFailed(serr) {
				t.Fatalf("cut by the server %v at %d: client: %v; server: %v", byServer, n, cerr, serr)
			}
		}
	}
	settled(t, before)
}

func TestForeignClients(t *testing.T) {
	d := newDomain(t, "futian")
	client, server := d.side("unit-1"), d.side("core")
	before := runtime.NumGoroutine()
	l, refused := serving(t, server)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		c := must[net.Conn](t)(net.Dial("tcp", l.Addr().String()))
		_ = c.SetDeadline(time.Now().Add(time.Minute))
		if err := tls.Client(c, &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version}).Handshake(); err == nil {
			t.Errorf("a handshake of version %x", version)
		}
		_ = c.Close()
	}
	garbage := make([]byte, 4096)
	_, _ = rand.Read(garbage)
	for _, b := range [][]byte{garbage, []byte("GET / HTTP/1.1\r\n\r\n"), make([]byte, 4096), bytes.Repeat([]byte{0xff}, 4096),
		{22, 1, 1, 0, 4, 1, 0, 0, 0}, {22, 1, 1, 0, 4, 1, 0xff, 0xff, 0xff}, {22, 1, 1, 0, 0}, {21, 1, 1, 0, 2, 2, 0}, {20, 1, 1, 0, 1, 1}, {23, 1, 1, 0, 1, 0}} {
		say(t, l.Addr().String(), b)
	}
	alive(t, l, client)
	_ = l.Close()
	if refused.Load() != 12 {
		t.Errorf("%d refused", refused.Load())
	}
	settled(t, before)
}

// TestMutatedFlight changes single bytes of a good flight.
func TestMutatedFlight(t *testing.T) {
	d := newDomain(t, "futian")
	client, server := d.side("unit-1"), d.side("core")
	good, _ := flights(t, client, server)
	l, refused := serving(t, server)
	sent := int64(0)
	for n := 0; n < len(good); n += 3 {
		b := bytes.Clone(good)
		b[n] ^= byte(1 + n%255)
		say(t, l.Addr().String(), b)
		sent++
	}
	alive(t, l, client)
	_ = l.Close()
	if refused.Load() != sent {
		t.Errorf("%d refused of %d", refused.Load(), sent)
	}
}

// point2 is the ASN.1 of GM/T 0009.
type point2 struct {
	X, Y *big.Int
	Hash []byte
	Text []byte
}

// ciphertexts seals a pre-master secret in every wrong way.
func ciphertexts(t testing.TB, to *sm.EncryptKey) map[string][]byte {
	t.Helper()
	seal := func(n int) []byte {
		return must[[]byte](t)(sm2.EncryptASN1(rand.Reader, must[*ecdsa.PublicKey](t)(sm2.NewPublicKey(to.Bytes())), make([]byte, n)))
	}
	change := func(f func(*point2)) []byte {
		var p point2
		if _, err := asn1.Unmarshal(seal(preMaster), &p); err != nil {
			t.Fatal(err)
		}
		f(&p)
		return must[[]byte](t)(asn1.Marshal(p))
	}
	return map[string][]byte{
		"right":             seal(preMaster),
		"C1 off the curve":  change(func(p *point2) { p.Y.Add(p.Y, big.NewInt(1)) }),
		"C1 of small order": change(func(p *point2) { p.Y.SetInt64(0) }),
		"C1 at infinity":    change(func(p *point2) { p.X.SetInt64(0); p.Y.SetInt64(0) }),
		"C1 past the field": change(func(p *point2) { p.X.Lsh(big.NewInt(1), 256) }),
		"wrong C3":          change(func(p *point2) { p.Hash[0] ^= 1 }),
		"wrong C2":          change(func(p *point2) { p.Text[0] ^= 1 }),
		"47 bytes":          seal(47),
		"49 bytes":          seal(49),
		"no C2":             change(func(p *point2) { p.Text = nil }),
		"no C3":             change(func(p *point2) { p.Hash = nil }),
	}
}

func TestDecrypterIsNoOracle(t *testing.T) {
	key := must[*sm.DecryptKey](t)(sm.NewDecryptKey(rand.Reader))
	k := must[*sm2.PrivateKey](t)(private(key.Bytes()))
	d := decrypter{k}
	raw := func(b []byte) []byte { // the form the engine hands over
		var p point2
		if _, err := asn1.Unmarshal(b, &p); err != nil {
			t.Fatal(err)
		}
		out := []byte{4}
		for _, n := range []*big.Int{p.X, p.Y} {
			out = append(out, n.FillBytes(make([]byte, max(32, (n.BitLen()+7)/8)))...)
		}
		return append(append(out, p.Hash...), p.Text...)
	}
	all := map[string][]byte{"empty": {}, "one byte": {4}, "no point": make([]byte, 200), "long": make([]byte, 1<<16)}
	for what, ct := range ciphertexts(t, key.Public()) {
		all[what] = raw(ct)
	}
	for what, ct := range all {
		fixed := bytes.Repeat([]byte{7}, preMaster)
		r := bytes.NewReader(fixed)
		got, err := d.Decrypt(r, ct, nil)
		if err != nil || len(got) != preMaster || r.Len() != 0 {
			t.Errorf("%s: %d bytes, %d of randomness left, %v", what, len(got), r.Len(), err)
			continue
		}
		want := fixed
		if what == "right" {
			want = make([]byte, preMaster)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s: other bytes", what)
		}
	}
	if _, err := d.Decrypt(bytes.NewReader(nil), nil, nil); err == nil {
		t.Error("without randomness")
	}
}

func record(kind byte, b []byte) []byte {
	return append([]byte{kind, 1, 1, byte(len(b) >> 8), byte(len(b))}, b...)
}

func message(kind byte, b []byte) []byte {
	return append([]byte{kind, byte(len(b) >> 16), byte(len(b) >> 8), byte(len(b))}, b...)
}

// readFlight reads handshake messages until ServerHelloDone.
func readFlight(t testing.TB, c io.Reader) []byte {
	t.Helper()
	var out []byte
	for {
		var head [5]byte
		if _, err := io.ReadFull(c, head[:]); err != nil || head[0] != 22 {
			t.Fatalf("record of type %d: %v", head[0], err)
		}
		b := make([]byte, int(head[3])<<8|int(head[4]))
		if _, err := io.ReadFull(c, b); err != nil {
			t.Fatal(err)
		}
		out = append(out, b...)
		if b[0] == 14 {
			return out
		}
	}
}

// TestServerIsNoOracle is a client made by hand, valid in everything but its pre-master secret and so its Finished. The
// server answers one way whatever the ciphertext is.
func TestServerIsNoOracle(t *testing.T) {
	d := newDomain(t, "futian")
	client, server := d.side("unit-1"), d.side("core")
	good, _ := flights(t, client, server)
	hello := good[:5+int(good[3])<<8+int(good[4])]
	sign := must[*sm2.PrivateKey](t)(private(client.SignKey.Bytes()))
	l, refused := serving(t, server)
	answers := map[string][]byte{}
	all := ciphertexts(t, server.EncryptKey.Public())
	for what, ct := range all {
		c := must[net.Conn](t)(net.Dial("tcp", l.Addr().String()))
		_ = c.SetDeadline(time.Now().Add(time.Minute))
		_, _ = c.Write(hello)
		seen := append(bytes.Clone(hello[5:]), readFlight(t, c)...)
		var certs []byte
		for _, der := range [][]byte{client.Sign.DER(), client.Encrypt.DER()} {
			certs = append(append(certs, byte(len(der)>>16), byte(len(der)>>8), byte(len(der))), der...)
		}
		cert := message(11, append([]byte{byte(len(certs) >> 16), byte(len(certs) >> 8), byte(len(certs))}, certs...))
		exchange := message(16, append([]byte{byte(len(ct) >> 8), byte(len(ct))}, ct...))
		seen = append(append(seen, cert...), exchange...)
		digest := sm.Sum(seen)
		sig := must[[]byte](t)(sign.Sign(rand.Reader, digest[:], sm2.DefaultSM2SignerOpts))
		verify := message(15, append([]byte{byte(len(sig) >> 8), byte(len(sig))}, sig...))
		var out []byte
		for _, m := range [][]byte{cert, exchange, verify} {
			out = append(out, record(22, m)...)
		}
		out = append(out, record(20, []byte{1})...)
		out = append(out, record(22, make([]byte, 80))...)
		_, _ = c.Write(out)
		answer, err := io.ReadAll(c)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		answers[what] = answer
		_ = c.Close()
	}
	want := record(21, []byte{2, 20}) // bad_record_mac: the signature over the exchange was accepted before
	for what, got := range answers {
		if !bytes.Equal(got, want) {
			t.Errorf("%s: %x", what, got)
		}
	}
	_ = l.Close()
	if refused.Load() != int64(len(all)) {
		t.Errorf("%d refused of %d", refused.Load(), len(all))
	}
}

// TestServerWithoutSignature is a server that leaves out ServerKeyExchange: it holds the encryption key alone, or not even
// that. The engine's client would go on.
func TestServerWithoutSignature(t *testing.T) {
	d := newDomain(t, "futian")
	client, server := d.side("unit-1"), d.side("core")
	_, flight := flights(t, client, server)
	split := func() (out [][]byte) {
		for b := flight; len(b) > 0 && b[0] == 22; {
			n := 5 + int(b[3])<<8 + int(b[4])
			out, b = append(out, b[:n]), b[n:]
		}
		return out
	}
	if len(split()) < 5 {
		t.Fatal("no whole flight")
	}
	for missing := range 4 {
		records := split()[:5]
		var b []byte
		for i, r := range records {
			if i != missing {
				b = append(b, r...)
			}
		}
		raw, c := link(t)
		tapped := &tap{Conn: raw}
		go func() {
			_, _ = c.Write(b)
			_ = c.(*net.TCPConn).CloseWrite()
		}()
		_, err := Client(tapped, client)
		if !isFailed(err) {
			t.Errorf("without record %d: %v", missing, err)
		}
		if bytes.Contains(tapped.out, client.Sign.DER()) {
			t.Errorf("without record %d the client goes on", missing)
		}
	}
}

// TestSplitHeaders: a message header that a record cuts is refused however the bytes arrive. It was read on into the next record's header,
// and what followed was then another message than the engine's, or a place before the beginning.
func TestSplitHeaders(t *testing.T) {
	empty := func(kinds ...byte) (b []byte) {
		for _, k := range kinds {
			b = append(b, k, 0, 0, 0)
		}
		return b
	}
	for cut := 1; cut < 4; cut++ {
		for before := range serverFlight {
			last := []byte{serverFlight[before], 0, 1, 0}
			b := record(22, append(empty(serverFlight[:before]...), last[:cut]...))
			b = append(b, record(22, append(last[cut:], make([]byte, 300)...))...)
			for _, step := range []int{1, 2, 3, 5, 7, len(b)} {
				f := flight{open: true}
				ok := true
				for rest := b; ok && len(rest) > 0; rest = rest[min(step, len(rest)):] {
					ok = f.check(rest[:min(step, len(rest))])
				}
				if ok {
					t.Errorf("message %d cut after %d bytes passes in steps of %d", before, cut, step)
				}
			}
		}
	}
}

func FuzzFlight(f *testing.F) {
	f.Add([]byte{22, 1, 1, 0, 18, 2, 0, 0, 0, 11, 0, 0, 0, 12, 0, 0, 0, 13, 0, 0, 0, 14, 0, 0}, 1)
	f.Add([]byte{22, 1, 1, 0, 4, 2, 0, 0, 0}, 3)
	f.Add([]byte{22, 1, 1, 0, 20, 2, 0, 0, 0, 11, 0, 0, 0, 12, 0, 0, 0, 13, 0, 0, 0, 14, 0, 0, 0}, 1)
	f.Add([]byte{21, 1, 1, 0, 2, 2, 40}, 7)
	f.Fuzz(func(t *testing.T, b []byte, step int) {
		whole := flight{open: true}
		parts := flight{open: true}
		want, got := whole.check(b), true
		step = max(1, step%64)
		for len(b) > 0 && got {
			n := min(step, len(b))
			got = parts.check(b[:n])
			b = b[n:]
		}
		if want != got || want && (whole.open != parts.open || whole.at != parts.at) {
			t.Error("how the bytes arrive changes the answer")
		}
	})
}
