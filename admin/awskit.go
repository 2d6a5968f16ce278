package admin

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// AWSConnection is what a device needs to connect to a target, beside its key.
type AWSConnection struct {
	Target string `json:"target"`
	Region string `json:"region"`
	Device string `json:"device"`
	// Thing is the name of its thing, which is its MQTT client identifier, too.
	Thing string `json:"thing"`
	// Endpoint is the host name of the data endpoint; the simulator's has a port.
	Endpoint      string `json:"endpoint"`
	Serial        string `json:"serial"`
	CertificateID string `json:"certificate_id"`
	// Certificate and Chain are PEM; Chain begins with the issuing CA and ends
	// below the trust anchor.
	Certificate string    `json:"certificate"`
	Chain       string    `json:"chain"`
	NotAfter    time.Time `json:"not_after"`
	// Mode is that of the issuing CA's registration: under DEFAULT a device that
	// sends no server name must send the CA's certificate; under SNI_ONLY it must
	// send the server name.
	Mode string `json:"mode"`
}

// AWSConnection says how a device connects to a target. It asks AWS for the
// endpoint.
func (c *Client) AWSConnection(ctx context.Context, target, device string) (AWSConnection, error) {
	return call[AWSConnection](ctx, c, http.MethodGet, awsPath(target)+"/devices/"+url.PathEscape(device)+"/connection", nil, nil)
}
