package keys

import (
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// SigningSecret (派生签名密钥) gives the SM2 signing key that a named secret stands for, the same at every call.
func (v *Vault) SigningSecret(name string) (*sm.SigningKey, error) {
	return fromSecret(v, name, "sm2-sign", sm.ParseSigningKey)
}

// DecryptSecret (派生解密密钥) gives the SM2 decryption key that a named secret stands for.
func (v *Vault) DecryptSecret(name string) (*sm.DecryptKey, error) {
	return fromSecret(v, name, "sm2-decrypt", sm.ParseDecryptKey)
}

// fromSecret takes the first candidate that is a private key: one in 2^32 is not.
func fromSecret[K any](v *Vault, name, use string, parse func([]byte) (*K, error)) (*K, error) {
	s, err := v.Secret(name)
	if err != nil {
		return nil, err
	}
	for _, try := range []string{"1", "2", "3", "4"} {
		b, err := s.Derive(32, "opdomain", use, try)
		if err != nil {
			return nil, err
		}
		k, err := parse(b)
		clear(b)
		if err == nil {
			return k, nil
		}
	}
	return nil, &sandbox.Error{Op: "keys", Kind: sandbox.Internal, Object: "secret-" + name, Detail: "no candidate is a private key"}
}
