package rest

import (
	"context"
	"fmt"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

// What tokens of Microsoft Entra are asked for.
//
// Sources: https://learn.microsoft.com/azure/iot-dps/concepts-control-access-dps-azure-ad
// and https://learn.microsoft.com/azure/iot-hub/authenticate-authorize-azure-ad, which
// name the resources.
const (
	ScopeDPS = "https://azure-devices-provisioning.net/.default"
	ScopeHub = "https://iothubs.azure.net/.default"
)

// Entra authorises with tokens of Microsoft Entra. It keeps none: credentials of
// azidentity do.
type Entra struct {
	Credential azcore.TokenCredential
	Scope      string
}

// Header implements Authorization. It may ask for a token.
func (e Entra) Header(ctx context.Context) (string, error) {
	token, err := e.Credential.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{e.Scope}})
	if err != nil {
		return "", fmt.Errorf("asking Microsoft Entra for a token: %w", err)
	}
	return "Bearer " + token.Token, nil
}
