// Command jitr is the function of a JITR tutorial: it attaches a policy to a
// certificate that has been registered just in time, and activates it.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
)

type registered struct {
	CertificateID     string `json:"certificateId"`
	CertificateStatus string `json:"certificateStatus"`
	AWSAccountID      string `json:"awsAccountId"`
}

func handle(ctx context.Context, e registered) (string, error) {
	if e.CertificateStatus != "PENDING_ACTIVATION" {
		return "", errors.New("not a registration event")
	}
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return "", err
	}
	client := iot.NewFromConfig(cfg)
	arn := fmt.Sprintf("arn:aws:iot:%s:%s:cert/%s", cfg.Region, e.AWSAccountID, e.CertificateID)
	if _, err := client.AttachPolicy(ctx, &iot.AttachPolicyInput{
		PolicyName: aws.String(os.Getenv("POLICY")), Target: aws.String(arn),
	}); err != nil {
		return "", err
	}
	_, err = client.UpdateCertificate(ctx, &iot.UpdateCertificateInput{
		CertificateId: aws.String(e.CertificateID), NewStatus: types.CertificateStatusActive,
	})
	fmt.Println("activated", e.CertificateID)
	return "activated", err
}

func main() { lambda.Start(handle) }
