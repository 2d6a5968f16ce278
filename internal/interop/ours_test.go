package interop

import (
	"path/filepath"
	"testing"
)

// ours is the client that a device without one is given.
func ours(t *testing.T, s *site) []cell {
	const enroll = `$MINTMARK est enroll --url $BASE $AUTH --label $LABEL --ca $ROOT --name $NAME --new-key $NAME.key --out $NAME.pem $MORE
`
	var cells []cell
	for _, version := range []string{"1.2", "1.3"} {
		add := func(operation, auth, label, script string, check func(t *testing.T, s *site, dir, name string)) {
			cells = append(cells, cell{"mintmark est", operation, "TLS" + version, auth, func(t *testing.T, s *site, dir string) {
				name := s.name("ours")
				if label == "waiting" {
					defer s.approving(t, name)()
				}
				s.shell(t, dir, script, "NAME="+name, "LABEL="+label, "TLS="+map[string]string{"1.2": "--tls12"}[version], "PASSWORD="+filepath.Join(s.dir, "secrets", "enroll"), "SYMMETRIC="+filepath.Join(s.dir, "line-7.hex"))
				check(t, s, dir, name)
			}})
		}
		good := func(t *testing.T, s *site, dir, name string) { enrolled(t, s, filepath.Join(dir, name+".pem"), name) }
		password := `AUTH="--password-file $PASSWORD $TLS"
`
		add("cacerts", "none", "", `$MINTMARK est cacerts --url $BASE $TLS --ca $ROOT --out ca.pem`, func(t *testing.T, s *site, dir, _ string) {
			if n := len(certificates(t, filepath.Join(dir, "ca.pem"))); n != 2 {
				t.Errorf("%d certificates", n)
			}
		})
		add("csrattrs", "none", "keygen", `$MINTMARK est csrattrs --url $BASE $TLS --label $LABEL --ca $ROOT --json | grep -q P-256`, func(*testing.T, *site, string, string) {})
		add("simpleenroll", "Basic", "line-a", password+enroll, good)
		add("simpleenroll, linked to TLS", "Basic", "linked", password+enroll, good)
		add("simpleenroll 202", "Basic", "waiting", password+enroll, good)
		renew := password + enroll + `$MINTMARK est reenroll --url $BASE $TLS --label $LABEL --ca $ROOT --cert $NAME.pem --key $NAME.key --new-key new.key --out new.pem
! cmp -s new.pem $NAME.pem
mv new.pem $NAME.pem
`
		add("serverkeygen, shared key", "Basic", "keygen", password+`$MINTMARK est serverkeygen --url $BASE $AUTH --label $LABEL --ca $ROOT --name $NAME --out-key $NAME.key --out $NAME.pem \
	--symmetric-key-file $SYMMETRIC --symmetric-key-id line-7
`, good)
		add("serverkeygen, ECDH", "certificate", "keygen", password+enroll+`mv $NAME.pem old.pem; mv $NAME.key old.key
$MINTMARK est serverkeygen --url $BASE $TLS --cert old.pem --key old.key --label $LABEL --ca $ROOT --name $NAME --out-key $NAME.key --out $NAME.pem
`, good)
		add("renew, not due", "certificate", "line-a", password+enroll+`cp $NAME.pem old.pem
$MINTMARK est renew --url $BASE $TLS --label $LABEL --ca $ROOT --cert $NAME.pem --key $NAME.key
cmp old.pem $NAME.pem
`, good)
		add("simplereenroll", "certificate", "line-a", renew, good)
		add("simplereenroll, linked to TLS", "certificate", "linked", renew, good)
	}
	return cells
}
