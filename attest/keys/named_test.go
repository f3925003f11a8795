package keys

import (
	"bytes"
	"crypto/rand"
	"testing"
	"time"
)

func TestSecretKeys(t *testing.T) {
	dir := t.TempDir() + "/k"
	v, err := Create(dir, []byte("p"), Params{Time: 1, Memory: 64, Threads: 1}, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a, err := v.SigningSecret("authority")
	if err != nil {
		t.Fatal(err)
	}
	d, err := v.DecryptSecret("authority")
	if err != nil {
		t.Fatal(err)
	}
	other, err := v.SigningSecret("tlcp")
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(a.Bytes(), d.Bytes()) || bytes.Equal(a.Bytes(), other.Bytes()) {
		t.Error("one key for two uses")
	}
	v.Close()
	if v, err = Open(dir, []byte("p"), rand.Reader); err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	again, err := v.SigningSecret("authority")
	if err != nil || !bytes.Equal(a.Bytes(), again.Bytes()) {
		t.Errorf("another key after opening: %v", err)
	}
	if _, err := v.DestroySecret("authority", "agency", time.Unix(0, 0)); err != nil {
		t.Fatal(err)
	}
	if _, err := v.SigningSecret("authority"); err == nil {
		t.Error("a destroyed secret gave a key")
	}
}
