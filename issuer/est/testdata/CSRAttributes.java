import java.nio.file.Files;
import java.nio.file.Paths;
import org.bouncycastle.asn1.ASN1ObjectIdentifier;
import org.bouncycastle.est.CSRAttributesResponse;

/** Prints what BouncyCastle's EST client makes of CsrAttrs, one file a line. */
public class CSRAttributes {
    public static void main(String[] args) throws Exception {
        for (String name : args) {
            CSRAttributesResponse response = new CSRAttributesResponse(Files.readAllBytes(Paths.get(name)));
            StringBuilder line = new StringBuilder();
            for (ASN1ObjectIdentifier id : response.getRequirements()) {
                line.append(response.isAttribute(id) ? "attribute " : "oid ").append(id.getId()).append(' ');
            }
            System.out.println(line.toString().trim());
        }
    }
}
