/* Reads one .spr file from stdin and prints its fields and codes: format_spec.md in plain C99.
 *
 *     cc -std=c99 -Wall -Wextra -o read_spr examples/read_spr.c && ./read_spr < sound.spr
 *
 * Exit codes as in section 9: 3 CorruptStream, 4 UnsupportedStream.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CORRUPT 3
#define UNSUPPORTED 4
#define MAX_BLOCK 1048576u                               /* section 8 */
#define MAX_FILE (172800000u + MAX_BLOCK + 64u)          /* payload, extension block, the rest */

static void refuse(int code, const char *why) {
    fprintf(stderr, "%s: %s\n", code == CORRUPT ? "CorruptStream" : "UnsupportedStream", why);
    exit(code);
}

/* Section 4.10 */
static uint16_t crc16(const uint8_t *p, size_t n) {
    uint16_t c = 0xFFFF;
    while (n--) {
        c ^= (uint16_t)(*p++ << 8);
        for (int i = 0; i < 8; i++) c = (uint16_t)(c & 0x8000 ? c << 1 ^ 0x1021 : c << 1);
    }
    return c;
}

static uint32_t crc32(const uint8_t *p, size_t n) {
    uint32_t c = 0xFFFFFFFF;
    while (n--) {
        c ^= *p++;
        for (int i = 0; i < 8; i++) c = c & 1 ? c >> 1 ^ 0xEDB88320 : c >> 1;
    }
    return ~c;
}

/* The bytes that are left to read: from at up to end. */
typedef struct { const uint8_t *at, *end; } Span;

static uint8_t byte(Span *s) {
    if (s->at == s->end) refuse(CORRUPT, "the file ends inside its header");
    return *s->at++;
}

static Span take(Span *s, uint64_t n) {
    if (n > (uint64_t)(s->end - s->at)) refuse(CORRUPT, "a length runs over the end");
    Span part = {s->at, s->at + n};
    s->at += n;
    return part;
}

/* Section 2 */
static uint64_t leb128(Span *s) {
    uint64_t value = 0;
    for (int i = 0; i < 9; i++) {
        uint8_t b = byte(s);
        value |= (uint64_t)(b & 0x7F) << 7 * i;
        if (b < 0x80) {
            if (b == 0 && i > 0) refuse(CORRUPT, "an integer is not in its shortest form");
            return value;
        }
    }
    refuse(CORRUPT, "an integer is longer than 9 bytes");
    return 0;
}

static uint64_t ceil_div(uint64_t a, uint64_t b) { return (a + b - 1) / b; }

/* The whole of stdin; memory grows with the bytes that arrive, not with what a header claims. */
static uint8_t *slurp(size_t *size) {
    size_t room = 4096;
    uint8_t *data = malloc(room);
    *size = 0;
    while (data) {
        *size += fread(data + *size, 1, room - *size, stdin);
        if (*size < room) return data;
        if (room > MAX_FILE) refuse(CORRUPT, "no .spr file is this long");
        data = realloc(data, room *= 2);
    }
    fprintf(stderr, "out of memory\n");
    exit(1);
}

int main(void) {
    static const struct { uint64_t pool; unsigned bits; } families[4] = {
        {4, 10}, {9, 10}, {20, 12}, {100, 12}};         /* section 5 */
    static const uint64_t rates[3] = {48000, 44100, 96000};
    size_t size;
    uint8_t *file = slurp(&size);

    /* The order of section 9 */
    if (size < 3 || memcmp(file, "\xf5SP", 3)) refuse(CORRUPT, "not a .spr file");
    if (size < 4) refuse(CORRUPT, "truncated");
    if (file[3] >> 4 != 1) refuse(UNSUPPORTED, "not version 1");
    if (size < 11 || size == 4096 || size == 4097) refuse(CORRUPT, "no file has this size");
    size_t body = size - (size <= 4095 ? 2 : 4);
    uint32_t stored = 0;
    for (size_t i = body; i < size; i++) stored = stored << 8 | file[i];
    if (stored != (size <= 4095 ? crc16(file, body) : crc32(file, body)))
        refuse(CORRUPT, "the checksum does not match");

    Span rest = {file + 4, file + body};
    unsigned flags = file[3] & 15;
    uint64_t profile = leb128(&rest);
    if (profile >= 128) refuse(UNSUPPORTED, "a reserved profile");
    Span tag = take(&rest, 2);
    unsigned gain = byte(&rest);
    uint64_t samples = leb128(&rest);

    /* Section 4.8 */
    Span record[256];
    int present[256] = {0};
    if (flags & 2) {
        uint64_t length = leb128(&rest);
        if (length < 1 || length > MAX_BLOCK) refuse(CORRUPT, "the size of the extension block");
        Span block = take(&rest, length);
        for (int last = -1; block.at < block.end;) {
            int type = byte(&block);
            Span value = take(&block, leb128(&block));
            if (type <= last) refuse(CORRUPT, "records are repeated or out of order");
            if (type == 0x80 || type > 0x83) refuse(UNSUPPORTED, "an unknown record");
            record[last = type] = value;
            present[type] = 1;
        }
    }

    int channels = 1 + (flags & 1), dual_mono = present[0x82];
    int true_stereo = channels == 2 && !dual_mono;
    uint64_t rate = flags >> 2 < 3 ? rates[flags >> 2] : 0;
    if (present[0x81] != (rate == 0)) refuse(CORRUPT, "the source rate is given twice or not at all");
    if (present[0x81]) {
        rate = leb128(&record[0x81]);
        if (record[0x81].at != record[0x81].end || rate < 1000 || rate > 768000 || rate == rates[0]
            || rate == rates[1] || rate == rates[2])
            refuse(CORRUPT, "the source rate");
    }
    if (samples < 1 || samples > 86400 * rate) refuse(CORRUPT, "the sample count");
    if (dual_mono && (channels == 1 || gain == 0 || record[0x82].at != record[0x82].end))
        refuse(CORRUPT, "dual mono");
    if (present[0x83] != (true_stereo && gain != 0)) refuse(CORRUPT, "channel levels");
    const uint8_t *levels = present[0x83] ? record[0x83].at : NULL;
    if (levels && (record[0x83].end - levels != 2 || (levels[0] | levels[1]) == 0))
        refuse(CORRUPT, "channel levels");

    /* Section 6 */
    unsigned books = (unsigned)(profile % 32) + 1, bits = families[profile / 32].bits;
    uint64_t n48 = ceil_div(samples * 48000, rate), latents = ceil_div(n48, 480);
    uint64_t frames = gain ? ceil_div(latents, families[profile / 32].pool) : 0;
    uint64_t coded = true_stereo ? 2 : 1, total = coded * frames * books * bits;
    if ((uint64_t)(rest.end - rest.at) != ceil_div(total, 8)) refuse(CORRUPT, "the payload's length");
    if (total % 8 && rest.end[-1] & (0xFF >> total % 8)) refuse(CORRUPT, "a padding bit is set");

    printf("profile %" PRIu64 "\nweights_tag %02x%02x\ngain %u\n", profile, tag.at[0], tag.at[1], gain);
    printf("source_rate %" PRIu64 "\nsamples %" PRIu64 "\nchannels %d\n", rate, samples, channels);
    printf("dual_mono %d\n", dual_mono);
    if (levels) printf("levels %u %u\n", levels[0], levels[1]);
    uint64_t bit = 0;
    for (uint64_t row = 0; row < coded * frames; row++) {
        printf("codes %" PRIu64 " %" PRIu64, row / frames, row % frames); /* channel, frame */
        for (unsigned book = 0; book < books; book++) {
            unsigned code = 0;
            for (unsigned i = 0; i < bits; i++, bit++)
                code = code << 1 | (rest.at[bit / 8] >> (7 - bit % 8) & 1);
            printf(" %u", code);
        }
        putchar('\n');
    }
    free(file);
    return 0;
}
