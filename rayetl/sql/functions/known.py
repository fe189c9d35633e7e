"""Functions of Spark 3.5 that the function table does not hold."""

from __future__ import annotations

from collections.abc import Mapping

_ONLY = """
acosh aes_decrypt aes_encrypt aggregate array_append array_insert array_prepend array_remove array_repeat
arrays_overlap arrays_zip asinh assert_true atanh bin bit_and bit_count bit_get bit_or bit_xor
bitmap_bit_position bitmap_bucket_number bitmap_construct_agg bitmap_count bitmap_or_agg conv convert_timezone
count_min_sketch csc current_catalog current_database current_schema current_timezone current_user decode elt
encode factorial find_in_set format_number format_string from_csv from_json get get_json_object getbit hash
histogram_numeric hll_sketch_agg hll_sketch_estimate hll_union hll_union_agg java_method json_array_length
json_object_keys json_tuple kurtosis levenshtein luhn_check make_dt_interval make_interval make_timestamp
make_timestamp_ltz make_timestamp_ntz make_ym_interval map_concat map_entries map_filter map_from_arrays
map_from_entries map_zip_with mask mode parse_url printf raise_error reduce reflect regexp_extract_all
regexp_instr regexp_substr regr_avgx regr_avgy regr_count regr_intercept regr_r2 regr_slope regr_sxx regr_sxy
regr_syy schema_of_csv schema_of_json sec sentences session_window skewness soundex str_to_map
timestamp_seconds to_binary to_char to_csv to_json to_number to_timestamp_ltz to_varchar transform_keys
transform_values try_add try_aes_decrypt try_avg try_divide try_element_at try_multiply try_subtract try_sum
try_to_binary try_to_number try_to_timestamp typeof unbase64 unhex url_decode url_encode user version
width_bucket window window_time xpath xpath_boolean xpath_double xpath_float xpath_int xpath_long xpath_number
xpath_short xpath_string xxhash64 zip_with
"""
SPARK_ONLY = frozenset(_ONLY.split())
"""What Spark runs and the embedded engine does not."""

_EACH_TIME = "gives other values each time it is asked, and a run asks more than once: to count, to load"
_FILES = "names files that are not those of the source: rows are handed to Spark through others"
_RANDOM = "monotonically_increasing_id rand randn random shuffle spark_partition_id uuid"
_ABOUT_FILES = "input_file_block_length input_file_block_start input_file_name"
UNREPEATABLE: Mapping[str, str] = {
    **dict.fromkeys(_RANDOM.split(), _EACH_TIME),
    **dict.fromkeys(_ABOUT_FILES.split(), _FILES),
}
"""What Spark runs and no engine of a pipeline may, with the reason."""
