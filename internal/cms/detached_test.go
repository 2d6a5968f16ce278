package cms

import (
	"bytes"
	"testing"
)

// TestDetached: a signature over what goes beside it verifies with that and nothing else, and a
// message with content is not one, nor the other way round.
func TestDetached(t *testing.T) {
	who, _ := signedBy(t, "P-256")
	sign := func(detached bool) []byte {
		der, err := Sign(Signed{ContentType: Data, Content: []byte("manifest"), Detached: detached, Signer: who.certificate}, who.key)
		if err != nil {
			t.Fatal(err)
		}
		der, err = ContentInfo(SignedData, der)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	der := sign(true)
	if bytes.Contains(der, []byte("manifest")) {
		t.Error("the content is in the message")
	}
	s, err := VerifyDetached(der, []byte("manifest"))
	if err != nil || !s.Detached || !bytes.Equal(s.Signer.Raw, who.certificate.Raw) {
		t.Errorf("%+v, %v", s, err)
	}
	for _, other := range [][]byte{[]byte("manifesto"), {}, nil} {
		if s, err := VerifyDetached(der, other); err == nil {
			t.Errorf("with %q: %+v", other, s)
		}
	}
	if s, err := Verify(der); err == nil {
		t.Errorf("without content: %+v", s)
	}
	if s, err := VerifyDetached(sign(false), []byte("manifest")); err == nil {
		t.Errorf("with content of its own: %+v", s)
	}
}
