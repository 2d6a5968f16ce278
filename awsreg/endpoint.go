package awsreg

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
)

// dataEndpoint is the kind of endpoint whose server certificate is under an
// Amazon trust anchor. The older iot:Data is not offered any more.
// https://docs.aws.amazon.com/iot/latest/developerguide/iot-connect-devices.html
const dataEndpoint = "iot:Data-ATS"

// DataEndpoint is the host name that devices of a target connect to (iot:Data-ATS).
// The simulator's has a port.
func (r *Registrar) DataEndpoint(ctx context.Context, t Target) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Deadline)
	defer cancel()
	s, err := r.session(ctx, t, false)
	if err != nil {
		return "", err
	}
	address, err := s.endpoint(ctx)
	if err != nil {
		return "", fmt.Errorf("AWS target %q: %w", t.Name, err)
	}
	return address, nil
}

func (s *session) endpoint(ctx context.Context) (string, error) {
	const doing = "asking for the endpoint of devices"
	var address string
	err := retry(ctx, func() error {
		out, err := s.iot.DescribeEndpoint(ctx, &iot.DescribeEndpointInput{EndpointType: aws.String(dataEndpoint)})
		if err != nil {
			return explain(doing, err)
		}
		if address = aws.ToString(out.EndpointAddress); address == "" {
			return fmt.Errorf("%s: AWS answered without an address", doing)
		}
		return nil
	})
	return address, err
}
