package server

import (
	"fmt"
	"testing"

	iottypes "github.com/aws/aws-sdk-go-v2/service/iot/types"
)

// TestStatusCounts: certificates are counted if that is asked for, and only then.
func TestStatusCounts(t *testing.T) {
	s, things := rehearsal(t)
	enrollTold(t, s, things, "one")
	setStatus(t, things, enrollTold(t, s, things, "two"), iottypes.CertificateStatusInactive)
	for count, want := range map[bool]string{true: "map[ACTIVE:1 INACTIVE:1]", false: "map[]"} {
		status, err := s.aws.Status(t.Context(), "line", count)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(status.CAs[0].Certificates); got != want {
			t.Errorf("count is %t: %s, want %s", count, got, want)
		}
	}
}
