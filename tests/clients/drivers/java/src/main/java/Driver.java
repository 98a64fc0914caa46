import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.io.RandomAccessFile;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import software.amazon.awssdk.core.sync.RequestBody;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.s3.S3Client;
import software.amazon.awssdk.services.s3.S3Configuration;
import software.amazon.awssdk.services.s3.model.BucketVersioningStatus;
import software.amazon.awssdk.services.s3.model.CompletedPart;
import software.amazon.awssdk.services.s3.model.GetObjectRequest;
import software.amazon.awssdk.services.s3.model.ObjectIdentifier;
import software.amazon.awssdk.services.s3.model.Tag;
import software.amazon.awssdk.services.s3.presigner.S3Presigner;

/** The journey's calls made with the AWS SDK for Java v2: one call a line, one answer a line. */
public final class Driver {
    private static final int PART_BYTES = 8 << 20;
    private static final URI ENDPOINT = URI.create(System.getenv("ENDPOINT"));
    private static final Region REGION = Region.of(System.getenv("AWS_REGION"));

    private final S3Client s3 =
            S3Client.builder().endpointOverride(ENDPOINT).region(REGION).forcePathStyle(true).build();

    private record Version(String version, boolean latest, boolean deleted, Instant modified) {
        Map<String, Object> shown() {
            return Map.of("version", version, "latest", latest, "deleted", deleted);
        }
    }

    private static String text(JsonNode call, String name) {
        return call.has(name) ? call.get(name).asText() : null;
    }

    private static Map<String, String> map(JsonNode call, String name) {
        Map<String, String> found = new LinkedHashMap<>();
        call.get(name).fields().forEachRemaining(entry -> found.put(entry.getKey(), entry.getValue().asText()));
        return found;
    }

    private void upload(String bucket, String key, Path file) throws IOException {
        String id = s3.createMultipartUpload(to -> to.bucket(bucket).key(key)).uploadId();
        List<CompletedPart> parts = new ArrayList<>();
        try (RandomAccessFile source = new RandomAccessFile(file.toFile(), "r")) {
            for (long start = 0; start < source.length(); start += PART_BYTES) {
                byte[] part = new byte[(int) Math.min(PART_BYTES, source.length() - start)];
                source.readFully(part);
                int number = parts.size() + 1;
                String etag = s3.uploadPart(
                                to -> to.bucket(bucket).key(key).uploadId(id).partNumber(number),
                                RequestBody.fromBytes(part))
                        .eTag();
                parts.add(CompletedPart.builder().partNumber(number).eTag(etag).build());
            }
        }
        s3.completeMultipartUpload(
                to -> to.bucket(bucket).key(key).uploadId(id).multipartUpload(upload -> upload.parts(parts)));
    }

    private void get(String bucket, String key, Path file, JsonNode call) throws IOException {
        GetObjectRequest.Builder request =
                GetObjectRequest.builder().bucket(bucket).key(key).versionId(text(call, "version"));
        if (call.has("first")) {
            request.range("bytes=" + call.get("first").asLong() + "-" + call.get("last").asLong());
        }
        Files.write(file, s3.getObjectAsBytes(request.build()).asByteArrayUnsafe());
    }

    private Map<String, List<String>> list(String bucket, String prefix, String delimiter) {
        List<String> keys = new ArrayList<>();
        List<String> prefixes = new ArrayList<>();
        s3.listObjectsV2Paginator(of -> of.bucket(bucket).prefix(prefix).delimiter(delimiter)).forEach(page -> {
            page.contents().forEach(entry -> keys.add(entry.key()));
            page.commonPrefixes().forEach(entry -> prefixes.add(entry.prefix()));
        });
        return Map.of("keys", keys, "prefixes", prefixes);
    }

    private List<Map<String, Object>> versions(String bucket, String key) {
        var answer = s3.listObjectVersions(of -> of.bucket(bucket).prefix(key));
        List<Version> found = new ArrayList<>();
        answer.versions()
                .forEach(entry -> found.add(new Version(entry.versionId(), entry.isLatest(), false, entry.lastModified())));
        answer.deleteMarkers()
                .forEach(entry -> found.add(new Version(entry.versionId(), entry.isLatest(), true, entry.lastModified())));
        found.sort(Comparator.comparing(Version::latest).thenComparing(Version::modified).reversed());
        return found.stream().map(Version::shown).toList();
    }

    private Map<String, String> tags(String bucket, String key) {
        Map<String, String> found = new LinkedHashMap<>();
        s3.getObjectTagging(of -> of.bucket(bucket).key(key)).tagSet().forEach(tag -> found.put(tag.key(), tag.value()));
        return found;
    }

    private String presign(String bucket, String key) {
        S3Configuration pathStyle = S3Configuration.builder().pathStyleAccessEnabled(true).build();
        try (S3Presigner presigner = S3Presigner.builder()
                .endpointOverride(ENDPOINT)
                .region(REGION)
                .serviceConfiguration(pathStyle)
                .build()) {
            return presigner
                    .presignGetObject(to -> to.signatureDuration(Duration.ofMinutes(1))
                            .getObjectRequest(of -> of.bucket(bucket).key(key)))
                    .url()
                    .toString();
        }
    }

    private void deleteMany(String bucket, JsonNode keys) {
        List<ObjectIdentifier> objects = new ArrayList<>();
        keys.forEach(key -> objects.add(ObjectIdentifier.builder().key(key.asText()).build()));
        var answer = s3.deleteObjects(from -> from.bucket(bucket).delete(all -> all.objects(objects)));
        if (answer.hasErrors()) {
            throw new IllegalStateException(answer.errors().toString());
        }
    }

    private Object carryOut(JsonNode call) throws IOException {
        String bucket = text(call, "bucket");
        String key = text(call, "key");
        Path file = call.has("file") ? Path.of(text(call, "file")) : null;
        switch (text(call, "op")) {
            case "create_bucket" -> s3.createBucket(to -> to.bucket(bucket));
            case "put" -> s3.putObject(
                    to -> to.bucket(bucket).key(key).metadata(map(call, "metadata")), RequestBody.fromFile(file));
            case "upload" -> upload(bucket, key, file);
            case "get" -> get(bucket, key, file, call);
            case "metadata" -> {
                return s3.headObject(of -> of.bucket(bucket).key(key)).metadata();
            }
            case "list" -> {
                return list(bucket, text(call, "prefix"), text(call, "delimiter"));
            }
            case "copy" -> s3.copyObject(to -> to.sourceBucket(bucket)
                    .sourceKey(text(call, "source"))
                    .destinationBucket(bucket)
                    .destinationKey(key));
            case "put_tags" -> {
                List<Tag> set = new ArrayList<>();
                map(call, "tags").forEach((name, value) -> set.add(Tag.builder().key(name).value(value).build()));
                s3.putObjectTagging(to -> to.bucket(bucket).key(key).tagging(tagging -> tagging.tagSet(set)));
            }
            case "tags" -> {
                return tags(bucket, key);
            }
            case "enable_versioning" -> s3.putBucketVersioning(
                    to -> to.bucket(bucket).versioningConfiguration(set -> set.status(BucketVersioningStatus.ENABLED)));
            case "versions" -> {
                return versions(bucket, key);
            }
            case "presign" -> {
                return presign(bucket, key);
            }
            case "delete" -> s3.deleteObject(from -> from.bucket(bucket).key(key));
            case "delete_many" -> deleteMany(bucket, call.get("keys"));
            default -> throw new IllegalArgumentException("no call " + call);
        }
        return null;
    }

    /** Answers calls until there are no more. */
    public static void main(String[] arguments) throws IOException {
        Driver driver = new Driver();
        ObjectMapper json = new ObjectMapper();
        PrintStream answers = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        var lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            Map<String, Object> answer = new LinkedHashMap<>();
            try {
                answer.put("ok", driver.carryOut(json.readTree(line)));
            } catch (Exception error) {
                answer.put("error", error.getClass().getSimpleName() + ": " + error.getMessage());
            }
            answers.println(json.writeValueAsString(answer));
        }
    }
}
