package est

import (
	"context"
	"errors"
	"fmt"
	"net/http"
)

// The media types of fullcmc: RFC 7030, Section 4.3.
const mediaTypeCMCRequest = "application/pkcs7-mime; smime-type=CMC-request"

// FullCMC sends a Full PKI Request (RFC 5272, Section 3.2) in DER and returns the
// Full PKI Response in DER: RFC 7030, Section 4.3. It looks into neither. A
// server explains an error in such a response, too, so that there may be one beside
// the error; it is nil where there is none.
func (c *Client) FullCMC(ctx context.Context, request []byte) ([]byte, error) {
	response, err := c.fullCMC(ctx, request)
	if err != nil {
		return response, fmt.Errorf("sending CMC request: %w", err)
	}
	return response, nil
}

func (c *Client) fullCMC(ctx context.Context, request []byte) ([]byte, error) {
	a, err := c.do(ctx, c.shared(), ask{method: http.MethodPost, op: "fullcmc", contentType: mediaTypeCMCRequest, der: request})
	var status *StatusError
	switch {
	case errors.As(err, &status) && a != nil:
		// RFC 7030, Section 4.3.2: the body of an error is a CMC response.
		if der, broken := a.der(mediaTypeCACerts, "CMC-response"); broken == nil && len(der) > 0 {
			return der, err
		}
		return nil, err
	case err != nil:
		return nil, err
	}
	der, err := a.der(mediaTypeCACerts, "CMC-response")
	if err != nil {
		return nil, err
	}
	if len(der) == 0 {
		return nil, errors.New("server answered with an empty body")
	}
	return der, nil
}
