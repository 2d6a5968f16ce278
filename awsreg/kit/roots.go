package kit

import _ "embed"

// amazonRoots are the trust anchors of AWS's endpoints, as Debian's package
// ca-certificates has them. Their SHA-256 fingerprints, which a test compares:
//
//	8ecde6884f3d87b1125ba31ac3fcb13d7016de7f57cc904fe1cb97c6ae98196e  Amazon Root CA 1 (RSA 2048)
//	1ba5b2aa8c65401a82960118f80bec4f62304d83cec4713a19c39c011ea46db4  Amazon Root CA 2 (RSA 4096)
//	18ce6cfe7bf14e60b2e347b8dfe868cb31d02ebb3ada271569f50343b46db3a4  Amazon Root CA 3 (P-256)
//	e35d28419ed02025cfa69038cd623962458da5c695fbdea3c22b0bfb25897092  Amazon Root CA 4 (P-384)
//	568d6905a2c88708a4b3025190edcfedb1974a606a13c6e5290fcb2ae63edab5  Starfield Services Root Certificate Authority - G2
//
// https://www.amazontrust.com/repository/
//
//go:embed AmazonRootCA.pem
var amazonRoots []byte
