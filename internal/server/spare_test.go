package server

import (
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"mintmark/admin"
	"mintmark/internal/access"
	"mintmark/internal/pkitest"
)

// TestSpareLacksKeys: an empty spare shows each key that it lacks from the start, also
// those of authorities that nothing needs at the moment.
func TestSpareLacksKeys(t *testing.T) {
	module, label, pinFile := pkitest.SoftHSM(t)
	pkitest.AddToken(t, "spare")
	dir := filepath.Join(t.TempDir(), "state")
	uri := "pkcs11:module-path=" + module + ";token="
	o := InitOptions{Dir: dir, Names: []string{"localhost"}, PKCS11: uri + label + "?pin-source=" + pinFile}
	if err := Init(t.Context(), o, slog.New(slog.DiscardHandler), io.Discard); err != nil {
		t.Fatal(err)
	}
	editConfig(t, dir, "      pin: {file: ", "      spare: {uri: \""+uri+"spare\", pin: {file: \""+pinFile+"\"}}\n      pin: {file: ")
	withServer(t, dir, func(s *Server) {
		if err := s.openKeys(t.Context()); err != nil {
			t.Fatal(err)
		}
		client := admin.New(admin.InProcess(s.admin(func(*http.Request) (access.Principal, bool, error) {
			return access.Principal{Name: "olga", Roles: []access.Role{access.Operator}}, true, nil
		})))
		for end := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			list, err := client.HSM(t.Context())
			if err != nil || len(list) != 1 || len(list[0].Legs) != 2 {
				t.Fatalf("tokens: %+v, %v", list, err)
			}
			if legs := list[0].Legs; len(legs[0].Problems) == 0 && len(legs[1].Problems) == 2 { // root and issuing
				return
			}
			if time.Now().After(end) {
				t.Fatalf("the legs are %+v", list[0].Legs)
			}
		}
	})
}
